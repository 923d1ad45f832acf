"""Withdrawals that arrive late or in another order than they were made in, and what they spare."""

from collections.abc import Callable
from datetime import timedelta
from itertools import permutations
from typing import Any

import pytest
from bson import ObjectId
from pymongo import MongoClient

from multitenant.repositories.admin import revocations
from multitenant.repositories.model import MongoDatabase, utc_now
from multitenant.repositories.transactions import run_transaction
from multitenant.tenancy.lifecycle import both_databases
from tests.conftest import MakeWorld
from tests.support import PASSWORD, User, World, answer, in_thread, refusal

Client = MongoClient[dict[str, Any]]

NEW_PASSWORD = "a new password"
CHANGE = {"currentPassword": PASSWORD, "newPassword": NEW_PASSWORD}
ENDINGS: dict[str, tuple[str, Any]] = {
    "another role": ("PATCH", {"role": "member"}),
    "disabling": ("PATCH", {"status": "disabled"}),
    "removing": ("DELETE", None),
}
ended_by = pytest.mark.parametrize(("method", "body"), ENDINGS.values(), ids=list(ENDINGS))


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    """A world in which every request reads revocations, as after a moment in any other."""
    return make_world(tenant_stale_seconds=0)


def interrupt(monkeypatch: pytest.MonkeyPatch, world: World, act: Callable[[], None]) -> None:
    """Call `act`, in a thread of its own, once: after the first transaction of another cluster, and
    so before the one of the admin database that belongs to it."""
    acted: list[bool] = []

    def run(client: Any, work: Callable[[], Any], *, seconds: float | None) -> Any:
        result = run_transaction(client, work, seconds=seconds)
        if client is not world.admin_db.client and not acted:
            acted.append(True)
            in_thread(act)
        return result

    monkeypatch.setattr(both_databases, "run_transaction", run)


def me(world: World, token: str) -> Any:
    return world.client.get("/api/users/me", headers={"jwt": token})


def refresh(world: World, token: str) -> Any:
    return world.client.post("/api/refresh", headers={"jwt": token})


def change_password(user: User, current: str = PASSWORD, new: str = NEW_PASSWORD) -> Any:
    body = {"currentPassword": current, "newPassword": new}
    return user.put("/api/users/me/password", body)


@ended_by
def test_a_password_change_that_arrives_late_does_not_weaken_what_came_after_it(
    world: World, blue: Client, monkeypatch: pytest.MonkeyPatch, method: str, body: Any
) -> None:
    owner = world.tenant("Acme", cluster="blue")
    ben = world.colleague(owner, "admin")
    ended: list[Any] = []
    interrupt(
        monkeypatch,
        world,
        lambda: ended.append(owner.send(method, f"/api/users/{ben.user_id}", body)),
    )
    change_password(ben)
    assert [response.status_code for response in ended] == [200]
    refusal(me(world, ben.access), 401, "token_revoked")
    refusal(refresh(world, ben.refresh), 401, "token_revoked")


@ended_by
def test_a_password_that_is_changed_at_the_same_time_does_not_spare_a_session_that_was_ended(
    world: World, monkeypatch: pytest.MonkeyPatch, method: str, body: Any
) -> None:
    """The password was hashed while the owner ended the user's sessions."""
    owner = world.tenant("Acme")
    ben = world.colleague(owner, "admin")
    hasher = world.platform.membership._hasher
    hash_password, ended = hasher.hash, []

    def hash_slowly(password: str, tenant: Any) -> str:
        path = f"/api/users/{ben.user_id}"
        ended.append(in_thread(lambda: owner.send(method, path, body)).status_code)
        return hash_password(password, tenant)

    monkeypatch.setattr(hasher, "hash", hash_slowly)
    assert change_password(ben).status_code in (401, 409)
    assert ended == [200]
    refusal(me(world, ben.access), 401, "token_revoked")
    refusal(refresh(world, ben.refresh), 401, "token_revoked")


def test_a_password_change_spares_no_token_that_a_half_made_change_has_ended(
    world: World, blue: Client
) -> None:
    """The owner's change of a role was committed in the tenant's database, and nowhere else."""
    owner = world.tenant("Acme", cluster="blue")
    ben = world.colleague(owner, "admin")
    db = blue[world.record(owner.tenant_id)["dbName"]]
    half = {"$set": {"role": "member"}, "$inc": {"tokenVersion": 1}}
    db["users"].update_one({"_id": ObjectId(ben.user_id)}, half)
    refusal(change_password(ben), 401, "token_revoked")
    refusal(change_password(ben, current="wrong", new=PASSWORD), 401, "token_revoked")
    refusal(refresh(world, ben.refresh), 401, "token_revoked")


def test_what_one_change_has_spared_is_not_spared_by_a_later_half_made_one(
    world: World, blue: Client
) -> None:
    owner = world.tenant("Acme", cluster="blue")
    ben = world.colleague(owner, "admin")
    assert change_password(ben).status_code == 200
    db = blue[world.record(owner.tenant_id)["dbName"]]
    half: dict[str, Any] = {
        "$set": {"role": "member"},
        "$inc": {"tokenVersion": 1},
        "$unset": {"exceptFamily": ""},
    }
    db["users"].update_one({"_id": ObjectId(ben.user_id)}, half)
    refusal(refresh(world, ben.refresh), 401, "token_revoked")


def test_a_removal_that_arrives_late_leaves_whoever_has_the_email_by_then(
    world: World, blue: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = world.tenant("Acme", cluster="blue")
    body = {"email": "ben@acme.example", "password": PASSWORD}
    ben = answer(owner.post("/api/users", body))["id"]
    added: list[Any] = []
    interrupt(monkeypatch, world, lambda: added.append(owner.post("/api/users", body)))
    assert owner.delete(f"/api/users/{ben}").status_code == 200
    assert [response.status_code for response in added] == [201]
    assert world.login("ben@acme.example").user_id == answer(added[0])["id"]


WITHDRAWALS: list[tuple[int, str | None]] = [(1, "a"), (2, None), (2, "b"), (3, "c")]


@pytest.mark.parametrize("order", list(permutations(WITHDRAWALS)), ids=str)
def test_withdrawals_come_to_the_same_in_any_order(
    shared: World, order: tuple[tuple[int, str | None], ...]
) -> None:
    """And in between nothing that was void is good again."""
    db: MongoDatabase = shared.admin_db
    tenant_id, user_id, now = ObjectId(), ObjectId(), utc_now()
    void: set[tuple[int, str]] = set()
    for version, family in order:
        revocations.upsert_user_revocation(
            db,
            tenant_id,
            user_id,
            version=version,
            except_family=family,
            expires_at=now + timedelta(hours=version),
        )
        (record,) = revocations.find_revocations(db, [revocations.user_key(tenant_id, user_id)])
        tokens = {(ver, fam) for ver in range(4) for fam in "abc"}
        void_now = {
            (ver, fam)
            for ver, fam in tokens
            if ver < record["version"] and fam != record.get("exceptFamily")
        }
        # A family is spared by the newest withdrawal only once that has come.
        assert {token for token in void - void_now if token[1] != family} == set()
        void = void_now
    assert (record["version"], record.get("exceptFamily")) == (3, "c")
    assert record["expiresAt"] == now + timedelta(hours=3)


@pytest.mark.parametrize("late", [None, "a", "b"])
def test_an_older_withdrawal_changes_nothing_and_one_of_the_same_version_spares_no_more(
    shared: World, late: str | None
) -> None:
    db, tenant_id, user_id = shared.admin_db, ObjectId(), ObjectId()
    key = revocations.user_key(tenant_id, user_id)

    def withdraw(version: int, family: str | None) -> Any:
        revocations.upsert_user_revocation(
            db, tenant_id, user_id, version=version, except_family=family, expires_at=utc_now()
        )
        (record,) = revocations.find_revocations(db, [key])
        return record["version"], record.get("exceptFamily")

    assert withdraw(2, "a") == (2, "a")
    assert withdraw(1, late) == (2, "a")
    assert withdraw(2, late) == (2, "a" if late == "a" else None)
    assert withdraw(2, "a") == (2, "a" if late == "a" else None), "void once, void for ever"


class TestAskingAgain:
    """PUT /api/users/me/password, whose answer was lost on its way or was a 503."""

    @pytest.fixture(params=["default", "blue"])
    def owner(self, world: World, blue: Client, request: pytest.FixtureRequest) -> User:
        return world.tenant("Acme", cluster=request.param)

    def test_it_is_done_when_it_is_asked_for_again(
        self, world: World, owner: User, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        other = world.login("owner@acme.example")
        on_other_cluster = world.record(owner.tenant_id)["cluster"] == "blue"

        def fail_after(client: Any, work: Callable[[], Any], *, seconds: float | None) -> Any:
            if on_other_cluster and client is world.admin_db.client:
                raise ConnectionError
            run_transaction(client, work, seconds=seconds)
            if not on_other_cluster:
                raise ConnectionError

        with monkeypatch.context() as patched:
            patched.setattr(both_databases, "run_transaction", fail_after)
            refusal(change_password(owner), 503, "database_unavailable")
        assert world.login("owner@acme.example", NEW_PASSWORD), "half of it is done"

        assert answer(change_password(owner))["id"] == owner.user_id

        refusal(me(world, other.access), 401, "token_revoked")
        refusal(refresh(world, other.refresh), 401, "token_revoked")
        assert me(world, owner.access).status_code == 200
        assert refresh(world, owner.refresh).status_code == 200
        query = {"action": "auth.password_change", "tenantId": ObjectId(owner.tenant_id)}
        assert world.admin_db["audit"].count_documents(query) == 1
        assert change_password(owner).status_code == 200, "and again"
        assert world.admin_db["audit"].count_documents(query) == 1

    def test_the_session_that_made_half_of_it_goes_on(
        self, world: World, owner: User, blue: Client
    ) -> None:
        if world.record(owner.tenant_id)["cluster"] == "default":
            pytest.skip("one transaction has no halves")
        db = blue[world.record(owner.tenant_id)["dbName"]]
        assert change_password(owner).status_code == 200
        world.admin_db["revocations"].delete_many({"_id": {"$regex": f"^{owner.tenant_id}/"}})
        renewed = answer(refresh(world, owner.refresh))
        assert me(world, renewed["accessToken"]).status_code == 200
        assert db["users"].count_documents({"exceptFamily": {"$exists": True}}) == 1

    def test_only_the_session_that_changed_it_only_to_the_same_and_only_until_the_next_change(
        self, world: World, owner: User
    ) -> None:
        assert change_password(owner).status_code == 200
        other = world.login("owner@acme.example", NEW_PASSWORD)
        refusal(change_password(other), 401, "credentials_invalid")
        refusal(change_password(owner, new="another one"), 401, "credentials_invalid")
        assert change_password(other, NEW_PASSWORD, "a third password").status_code == 200
        refusal(change_password(owner), 401, "token_revoked")
