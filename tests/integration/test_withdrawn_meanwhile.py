"""What was withdrawn after a request was checked, and before it writes, refuses the write."""

import io
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from bson import ObjectId
from pymongo import MongoClient
from werkzeug.test import TestResponse

from multitenant.repositories.model import Model
from multitenant.tenancy.deployments import write_permission
from multitenant.tenancy.routing.leases import Lease
from tests.conftest import MakeWorld
from tests.failpoints import failing
from tests.support import PASSWORD, User, World, answer, in_thread, refusal

Client = MongoClient[dict[str, Any]]
Act = Callable[[], Any]

TODO = ("POST", "/api/to-do-list", b'{"title": "Buy milk"}', "application/json")


class SlowBody(io.BytesIO):
    """A body that arrives while something else happens."""

    def __init__(self, body: bytes, meanwhile: Act) -> None:
        super().__init__(body)
        self._meanwhile: Act | None = meanwhile

    def readinto(self, buffer: Any) -> int:
        """Read what has arrived by then."""
        if meanwhile := self._meanwhile:
            self._meanwhile = None
            in_thread(meanwhile)
        return super().readinto(buffer)


def send_slowly(
    world: World, user: User, request: tuple[str, str, bytes, str], meanwhile: Act
) -> TestResponse:
    """Send a request whose body arrives while `meanwhile` runs."""
    method, path, body, media_type = request
    headers = {
        "Authorization": f"Bearer {user.access}",
        "Content-Type": media_type,
        "Content-Length": str(len(body)),
    }
    stream = SlowBody(body, meanwhile)
    return world.app.test_client().open(
        path, method=method, headers=headers, input_stream=stream, buffered=True
    )


def succeeded(response: TestResponse) -> None:
    assert response.status_code < 300, response.text


def end_tenant(world: World, user: User, *actions: str) -> None:
    path = f"/api/tenants/{user.tenant_id}"
    for action in actions:
        if action == "delete":
            succeeded(world.operator.delete(path))
        elif action == "purge":
            name = world.record(user.tenant_id)["name"]
            gone = answer(world.operator.post(f"{path}/purge", {"confirm": name}))["gone"]
            assert all(gone.values()), gone
        elif action == "disable module":
            succeeded(world.operator.patch(path, {"modules": ["posts"]}))
        else:
            succeeded(world.operator.post(f"{path}/{action}"))


def end_user(owner: User, user: User, body: Any = None) -> None:
    succeeded(owner.send("PATCH" if body else "DELETE", f"/api/users/{user.user_id}", body))


WITHDRAWALS: dict[str, tuple[Callable[[World, User, User], Any], int, str]] = {
    "suspended": (lambda w, o, u: end_tenant(w, o, "suspend"), 403, "tenant_suspended"),
    "deleted": (lambda w, o, u: end_tenant(w, o, "delete"), 401, "token_revoked"),
    "purged": (lambda w, o, u: end_tenant(w, o, "delete", "purge"), 401, "token_revoked"),
    "module": (lambda w, o, u: end_tenant(w, o, "disable module"), 403, "module_disabled"),
    "logged out": (lambda w, o, u: succeeded(u.post("/api/logout")), 401, "token_revoked"),
    "disabled": (lambda w, o, u: end_user(o, u, {"status": "disabled"}), 401, "token_revoked"),
    "another role": (lambda w, o, u: end_user(o, u, {"role": "member"}), 401, "token_revoked"),
    "removed": (lambda w, o, u: end_user(o, u), 401, "token_revoked"),
}
withdrawn = pytest.mark.parametrize(
    ("withdraw", "status", "code"), WITHDRAWALS.values(), ids=list(WITHDRAWALS)
)
_numbers = iter(range(1_000_000))


@pytest.fixture
def people(shared: World) -> tuple[User, User]:
    """The owner of a new tenant, and an admin there."""
    number = next(_numbers)
    owner = shared.tenant(f"Tenant {number}", email=f"owner@t{number}.example")
    return owner, shared.colleague(owner, "admin")


def todos(world: World, owner: User) -> int | None:
    """How many to-dos the tenant has; None when it is gone."""
    record = world.admin_db["tenants"].find_one({"_id": ObjectId(owner.tenant_id)})
    if record is None:
        return None
    return world.admin_db.client[record["dbName"]]["todos"].count_documents({})


class TestSlowBodies:
    """While a body arrives, anything may happen."""

    @withdrawn
    def test_what_was_withdrawn_while_the_body_came_refuses_the_request(
        self,
        shared: World,
        people: tuple[User, User],
        withdraw: Callable[..., Any],
        status: int,
        code: str,
    ) -> None:
        owner, admin = people
        db_name = shared.record(owner.tenant_id)["dbName"]
        response = send_slowly(shared, admin, TODO, lambda: withdraw(shared, owner, admin))
        refusal(response, status, code)
        if todos(shared, owner) is None:
            assert db_name not in shared.databases()
        else:
            assert todos(shared, owner) == 0

    @pytest.mark.parametrize(
        "media_type", ["text/plain", "application/json", "multipart/form-data"]
    )
    def test_a_route_that_reads_no_body_waits_for_it_all_the_same(
        self, shared: World, people: tuple[User, User], media_type: str
    ) -> None:
        owner, admin = people
        made = answer(owner.post("/api/to-do-list", {"title": "Keep me"}))
        request = ("DELETE", f"/api/to-do-list/{made['id']}", b"whatever", media_type)
        response = send_slowly(shared, admin, request, lambda: admin.post("/api/logout"))
        refusal(response, 401, "token_revoked")
        assert todos(shared, owner) == 1

    def test_a_logged_out_owner_makes_no_admin(
        self, shared: World, people: tuple[User, User]
    ) -> None:
        owner, admin = people
        body = b'{"email": "eve@example.com", "password": "eve has a password", "role": "admin"}'
        request = ("POST", "/api/users", body, "application/json")
        response = send_slowly(shared, owner, request, lambda: owner.post("/api/logout"))
        refusal(response, 401, "token_revoked")
        assert len(answer(admin.get("/api/users"))["items"]) == 2

    def test_a_token_that_expires_while_the_body_comes_is_expired(
        self, shared: World, people: tuple[User, User], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tokens = shared.platform.tokens

        def age() -> None:
            now = shared.platform.connections.now()
            monkeypatch.setattr(tokens, "_now", lambda: now + 2 * 86_400)

        refusal(send_slowly(shared, people[0], TODO, age), 401, "token_expired")

    def test_a_body_that_is_broken_or_too_long_is_refused_as_ever(
        self, shared: World, people: tuple[User, User]
    ) -> None:
        owner, _ = people

        def broken() -> None:
            raise OSError("no valid chunk")

        for request, meanwhile, status, code in (
            (TODO, broken, 400, "malformed_json"),
            ((*TODO[:2], b"x" * 2**21, TODO[3]), lambda: None, 413, "payload_too_large"),
            ((*TODO[:2], b"{", TODO[3]), lambda: None, 400, "malformed_json"),
            ((*TODO[:2], b"{}", "text/plain"), lambda: None, 415, "unsupported_media_type"),
        ):
            refusal(send_slowly(shared, owner, request, meanwhile), status, code)

    def test_no_lease_is_held_while_the_body_comes(
        self, shared: World, people: tuple[User, User]
    ) -> None:
        """So a move, or whoever waits for leases, does not wait for it."""
        leases: list[int] = []
        count = lambda: leases.append(shared.platform.connections.stats()["leases"])  # noqa: E731
        succeeded(send_slowly(shared, people[0], TODO, count))
        assert leases == [0]

    def test_nobody_unknown_has_a_body_read(self, shared: World) -> None:
        nobody = User(shared.client, "", "", "no token", "")
        read: list[bool] = []
        refusal(send_slowly(shared, nobody, TODO, lambda: read.append(True)), 401, "token_invalid")
        assert not read


class TestWaiting:
    """Between the check and the write a request may wait: for a hash, for others, for anything."""

    @pytest.fixture(autouse=True)
    def _each_write_is_checked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As if each came late."""
        monkeypatch.setattr(write_permission, "RECHECK_SECONDS", -1.0)

    @withdrawn
    def test_what_was_withdrawn_before_the_write_refuses_it(
        self,
        shared: World,
        people: tuple[User, User],
        monkeypatch: pytest.MonkeyPatch,
        withdraw: Callable[..., Any],
        status: int,
        code: str,
    ) -> None:
        owner, admin = people
        db_name, insert = shared.record(owner.tenant_id)["dbName"], Model.insert
        acted: list[Any] = []

        def insert_late(model: Model, **fields: Any) -> Any:
            if model.collection.name == "todos" and not acted:
                acted.append(in_thread(lambda: withdraw(shared, owner, admin)))
            return insert(model, **fields)

        monkeypatch.setattr(Model, "insert", insert_late)
        refusal(admin.post("/api/to-do-list", {"title": "Buy milk"}), status, code)
        assert acted
        if todos(shared, owner) is None:
            assert db_name not in shared.databases()
        else:
            assert todos(shared, owner) == 0

    @withdrawn
    def test_it_refuses_the_next_attempt_of_a_transaction(
        self,
        shared: World,
        people: tuple[User, User],
        mongo: Client,
        withdraw: Callable[..., Any],
        status: int,
        code: str,
    ) -> None:
        if code == "module_disabled":
            pytest.skip("users belong to no module")
        owner, admin = people
        acted: list[Any] = []

        def once_more(event: Any) -> None:
            """Withdraw when the first attempt has ended, and nothing waits for it any more."""
            if event.command_name == "abortTransaction" and not acted:
                acted.append(in_thread(lambda: withdraw(shared, owner, admin)))

        conflict = {
            "namespace": f"{shared.admin_db.name}.audit",
            "errorCode": 112,
            "errorLabels": ["TransientTransactionError"],
        }
        shared.recorder.on_end = once_more
        try:
            with failing(mongo, {"times": 1}, "insert", **conflict):
                body = {"email": "ben@example.com", "password": PASSWORD}
                response = admin.post("/api/users", body)
        finally:
            shared.recorder.on_end = lambda _: None
        refusal(response, status, code)
        assert acted

    @pytest.mark.parametrize("cluster", ["default", "blue"])
    def test_it_refuses_what_was_hashed_meanwhile(
        self,
        make_world: MakeWorld,
        world: World,
        blue: Client,
        monkeypatch: pytest.MonkeyPatch,
        cluster: str,
    ) -> None:
        hash_password = world.platform.membership._hasher.hash
        withdrawals = [name for name in WITHDRAWALS if name not in ("module", "purged")]
        for number, name in enumerate([*withdrawals, "purged"]):
            withdraw, status, code = WITHDRAWALS[name]
            owner = world.tenant(f"T{number}", cluster=cluster)
            admin = world.colleague(owner, "admin")
            acted: list[Any] = []

            def hash_slowly(
                password: str,
                tenant: Any,
                withdraw: Any = withdraw,
                people: Any = (owner, admin),
                acted: Any = acted,
            ) -> str:
                if not acted:
                    acted.append(in_thread(lambda: withdraw(world, *people)))
                return hash_password(password, tenant)

            changes: list[tuple[str, str, Any]] = [
                ("POST", "/api/users", {"email": "x@example.com", "password": PASSWORD}),
                (
                    "PUT",
                    "/api/users/me/password",
                    {"currentPassword": PASSWORD, "newPassword": "another one"},
                ),
            ]
            method, path, body = changes[number % 2]
            with monkeypatch.context() as patched:
                patched.setattr(world.platform.membership._hasher, "hash", hash_slowly)
                response = admin.send(method, path, body)
            assert acted
            refusal(response, status, code)
            assert world.admin_db["tenantusers"].count_documents({"email": "x@example.com"}) == 0

    def test_it_refuses_an_invitation_that_is_accepted_and_a_tenant_that_is_added(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        owner = world.tenant("Acme")
        invited = answer(owner.post("/api/users", {"email": "ben@example.com"}))
        hasher = world.platform.membership._hasher
        hash_password = hasher.hash

        def when_hashing(act: Act) -> Callable[..., str]:
            def hash_slowly(password: str, *tenant: Any) -> str:
                in_thread(act)
                return hash_password(password, *tenant)

            return hash_slowly

        with monkeypatch.context() as patched:
            suspend = when_hashing(lambda: end_tenant(world, owner, "suspend"))
            patched.setattr(hasher, "hash", suspend)
            body = {"token": invited["invitationToken"], "password": PASSWORD}
            accepted = world.client.post("/api/invitations/accept", json=body)
        refusal(accepted, 403, "tenant_suspended")
        operator = world.operator
        with monkeypatch.context() as patched:
            patched.setattr(hasher, "hash", when_hashing(lambda: operator.post("/api/logout")))
            body = {"name": "Globex", "email": "owner@globex.example", "password": PASSWORD}
            added = operator.post("/api/add", body)
        refusal(added, 401, "token_revoked")
        assert world.admin_db["tenants"].count_documents({"name": "Globex"}) == 0


def test_a_request_that_is_quick_is_checked_once(
    shared: World, people: tuple[User, User], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write_permission, "RECHECK_SECONDS", timedelta(days=1).total_seconds())
    read: list[Any] = []
    monkeypatch.setattr(shared.platform.connections, "read_tenant", read.append)
    succeeded(people[1].post("/api/to-do-list", {"title": "Buy milk"}))
    assert not read


def test_what_was_withdrawn_while_a_read_waited_for_a_connection_refuses_it(
    shared: World, people: tuple[User, User], monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, admin = people
    monkeypatch.setattr(write_permission, "RECHECK_SECONDS", -1.0)
    wait_in_line = Lease.wait_in_line
    acted: list[None] = []

    def wait_long(lease: Lease) -> None:
        if not acted:
            acted.append(None)
            in_thread(lambda: end_tenant(shared, owner, "suspend"))
        wait_in_line(lease)

    monkeypatch.setattr(Lease, "wait_in_line", wait_long)
    refusal(admin.get("/api/to-do-list"), 403, "tenant_suspended")
