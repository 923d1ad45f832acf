"""A tenant, a request for each kind of command, and MongoDB's failpoint at that command."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bson import ObjectId
from werkzeug.test import TestResponse

from multitenant.repositories.error_codes import KIND_OF_CODE, Kind
from multitenant.repositories.tenant.orders import BATCH_ITEMS
from multitenant.schemas.tenant.orders import MAX_ITEMS
from tests.failpoints import Client, end_faults, fail
from tests.support import PASSWORD, World, answer, refusal

NOT_BY_FAILPOINT = {
    330,  # no command may answer it: mongod ends itself
    *(11001, 12582),  # of which PyMongo makes DuplicateKeyError, as of 11000
    # What must come with them, a failpoint cannot give.
    *(65, 121, 169, 227, 236, 249, 271, 283, 284, 343, 346, 348, 351, 356, 359, 361, 11000, 13388),
}
BY_FAILPOINT = sorted(KIND_OF_CODE.keys() - NOT_BY_FAILPOINT)


@dataclass(frozen=True, slots=True)
class Request:
    """What needs a command: of this collection of the tenant's database, or of `db`."""

    send: Callable[[], TestResponse]
    collection: str | None = None
    db: str | None = None
    usual: int | None = None
    """The answer whatever happens to the command, which the request is not about."""
    connects: bool = False
    """Whether the command belongs to connecting, which no data can refuse."""


class FailingCommands:
    """A tenant with something in it, and the requests by name, most of them commands' names."""

    def __init__(self, world: World, mongo: Client) -> None:
        self._world = world
        self._mongo = mongo
        owner = world.tenant("Acme")
        self._db = world.db_of(owner.tenant_id)
        anvils = {"items": [{"name": "Anvil", "quantity": 1, "price": "1.50"}] * MAX_ITEMS}
        for _ in range(BATCH_ITEMS // MAX_ITEMS + 1):  # more items than come at once
            assert owner.post("/api/orders", anvils).status_code == 201
        few = {"items": anvils["items"][:2]}
        todo = answer(owner.post("/api/to-do-list", {"title": "Buy milk"}))
        path = f"/api/to-do-list/{todo['id']}"
        post = answer(owner.post("/api/posts", {"title": "Title", "content": "Content"}))
        post_path = f"/api/posts/{post['id']}?include=comments"
        twin = {"email": "owner@acme.example", "password": PASSWORD, "role": "member"}

        def add_user() -> TestResponse:
            return owner.post("/api/users", {**twin, "email": f"{ObjectId()}@acme.example"})

        def remove_user() -> TestResponse:
            return owner.delete(f"/api/users/{answer(add_user())['id']}")

        admin = world.admin_db.name
        self.requests = {
            "find": Request(lambda: owner.get(path), "todos"),
            "aggregate": Request(lambda: owner.get(post_path), "posts"),
            "getMore": Request(lambda: owner.get("/api/orders"), "orderItems"),
            "insert": Request(
                lambda: owner.post("/api/to-do-list", {"title": "Buy bread"}), "todos"
            ),
            "update": Request(add_user, "turns"),
            "delete": Request(remove_user, "tenantusers", admin),
            "findAndModify": Request(lambda: owner.patch(path, {"done": True}), "todos"),
            "commitTransaction": Request(lambda: owner.post("/api/orders", few)),
            "abortTransaction": Request(lambda: owner.post("/api/users", twin), usual=409),
        }

    def send(self, name: str, command: str | None = None, **data: Any) -> TestResponse:
        """Let the command fail once, send the request of that name, and return the answer."""
        request = self.requests[name]
        if request.collection:
            data["namespace"] = f"{request.db or self._db.name}.{request.collection}"
        fail(self._mongo, {"times": 1}, command or name, **data)
        try:
            response = request.send()
        finally:
            happened = end_faults(self._mongo)
        assert happened, f"{command or name} was not sent"
        return response

    def ensure_means(self, name: str, code: int, response: TestResponse) -> None:
        """Return if the answer is the one for that code. Of what passes there may be none, since
        it was done once more."""
        kind = KIND_OF_CODE.get(code, Kind.UNKNOWN)
        what = f"{name}, code {code}"
        if self.requests[name].connects:
            kind = Kind.PASSING
        if usual := self.requests[name].usual:
            assert response.status_code == usual, f"{what}: {response.text}"
        elif response.status_code >= 300:
            ensure_answers(response, kind, what)
        else:
            assert kind is Kind.PASSING, what


def ensure_answers(response: TestResponse, kind: Kind, what: str) -> None:
    """Return if the answer is the one for errors of this kind."""
    if kind in (Kind.PASSING, Kind.UNKNOWN):
        assert response.status_code == 503, f"{what}: {response.text}"
        refusal(response, 503, "database_unavailable")
        assert int(response.headers["Retry-After"]) > 0
    elif kind is Kind.REFUSED:
        assert response.status_code == 409, f"{what}: {response.text}"
        refusal(response, 409, "conflict")
    else:
        assert response.status_code == 500, f"{what}: {response.text}"
        refusal(response, 500, "internal_error")
