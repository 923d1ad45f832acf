"""Every error code of MongoDB's, at every kind of command, is answered with what it means.

The codes come from MongoDB itself, by its failpoint `failCommand`: 503 with Retry-After where the
same request may succeed later, 409 where the data does not allow it, 500 for a bug of the platform.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import dns.resolver
import pytest
from bson import ObjectId
from pymongo import common
from pymongo.helpers_shared import _RETRYABLE_ERROR_CODES
from pymongo.synchronous import srv_resolver
from werkzeug.test import TestResponse

from multitenant.embedded import EmbeddedServer
from multitenant.repositories.error_codes import KIND_OF_CODE, NOT_WRITABLE_PRIMARY, Kind
from multitenant.repositories.model import MongoDatabase
from multitenant.repositories.tenant.orders import BATCH_ITEMS
from multitenant.schemas.tenant.orders import MAX_ITEMS
from multitenant.tenancy.deployments.external import encrypt_uri
from tests.conftest import leakless_worlds, own_environment
from tests.faults.interference import Client, end_faults, fail
from tests.support import PASSWORD, World, answer, eventually, refusal

NOT_BY_FAILPOINT = {
    330,  # no command may answer it: mongod ends itself
    # What must come with them, a failpoint cannot give.
    *(65, 121, 169, 227, 236, 249, 271, 283, 284, 343, 346, 348, 351, 356, 359, 361, 11000, 13388),
}
CODES = [
    *(2, 9, 11, 13, 20, 43, 50, 64, 91, 96, 100, 112, 133, 143, 175, 189, 202, 215, 237, 251),
    *(262, 264, 290, 365, 10107, 10334, 11600, 11601, 14031, 99999),
]
"""Some of each kind and category, those that drivers retry and those that they do not, and one that
MongoDB does not have."""
UNCONFIRMED = (2, 50, 64, 79, 91, 100, 11600)


@dataclass(frozen=True)
class Acme:
    """A tenant with something in it, and a request for each kind of command."""

    db: MongoDatabase
    requests: dict[str, tuple[str | None, Callable[[], TestResponse]]]
    """By command: the collection in which it is to fail, and what sends it."""


@pytest.fixture(scope="module")
def shared(
    mongod: EmbeddedServer, mongo: Client, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """An application that looks at its servers again as soon as one has failed: PyMongo's monitor
    waits for half a second, or for what a failpoint does not tell it."""
    with (
        pytest.MonkeyPatch.context() as patch,
        own_environment(mongod, mongo, tmp_path_factory.mktemp("errors")) as environment,
        leakless_worlds(environment) as make,
    ):
        patch.setattr(common, "MIN_HEARTBEAT_INTERVAL", 0.01)
        yield make(admin_db_uri=environment["ADMIN_DB_URI"] + "&serverMonitoringMode=poll")


@pytest.fixture(scope="module")
def acme(shared: World) -> Acme:
    """For all tests here."""
    owner = shared.tenant("Acme")
    anvils = {"items": [{"name": "Anvil", "quantity": 1, "price": "1.50"}] * MAX_ITEMS}
    for _ in range(BATCH_ITEMS // MAX_ITEMS + 1):  # more items than come at once
        assert owner.post("/api/orders", anvils).status_code == 201
    todo = answer(owner.post("/api/to-do-list", {"title": "Buy milk"}))
    path = f"/api/to-do-list/{todo['id']}"
    post = answer(owner.post("/api/posts", {"title": "Title", "content": "Content"}))
    post_path = f"/api/posts/{post['id']}?include=comments"
    twin = {"email": "owner@acme.example", "password": PASSWORD, "role": "member"}

    def add_user() -> TestResponse:
        return owner.post("/api/users", {**twin, "email": f"{ObjectId()}@acme.example"})

    def remove_user() -> TestResponse:
        return owner.delete(f"/api/users/{answer(add_user())['id']}")

    requests: dict[str, tuple[str | None, Callable[[], TestResponse]]] = {
        "find": ("todos", lambda: owner.get(path)),
        "aggregate": ("posts", lambda: owner.get(post_path)),
        "getMore": ("orderItems", lambda: owner.get("/api/orders")),
        "insert": ("todos", lambda: owner.post("/api/to-do-list", {"title": "Buy bread"})),
        "update": ("turns", add_user),
        "delete": ("tenantusers", remove_user),
        "findAndModify": ("todos", lambda: owner.patch(path, {"done": True})),
        "commitTransaction": (None, lambda: owner.post("/api/orders", anvils)),
        "abortTransaction": (None, lambda: owner.post("/api/users", twin)),
    }
    return Acme(shared.db_of(owner.tenant_id), requests)


def send(mongo: Client, acme: Acme, world: World, command: str, **data: Any) -> TestResponse:
    """Let that command fail once, send the request that needs it, and return the answer."""
    collection, request = acme.requests[command]
    if collection:
        db = world.admin_db if command == "delete" else acme.db
        data["namespace"] = f"{db.name}.{collection}"
    fail(mongo, {"times": 1}, command, **data)
    try:
        response = request()
    finally:
        happened = end_faults(mongo)
    assert happened, f"{command} was not sent"
    return response


def ensure_answers(response: TestResponse, kind: Kind, what: str) -> None:
    """Return if the answer is the one for errors of this kind."""
    if kind is Kind.PASSING:
        assert response.status_code == 503, f"{what}: {response.text}"
        refusal(response, 503, "database_unavailable")
        assert int(response.headers["Retry-After"]) > 0
    elif kind is Kind.REFUSED:
        assert response.status_code == 409, f"{what}: {response.text}"
        refusal(response, 409, "conflict")
    else:
        assert response.status_code == 500, f"{what}: {response.text}"
        refusal(response, 500, "internal_error")


def test_every_code_is_answered_with_what_it_means(
    shared: World, acme: Acme, mongo: Client
) -> None:
    for code in sorted(KIND_OF_CODE.keys() - NOT_BY_FAILPOINT):
        response = send(mongo, acme, shared, "find", errorCode=code)
        if response.status_code != 200:
            ensure_answers(response, KIND_OF_CODE[code], f"code {code}")
        else:
            assert KIND_OF_CODE[code] is Kind.PASSING, code  # PyMongo has sent it again


@pytest.mark.slow
def test_every_kind_of_command_answers_what_its_error_means(
    shared: World, acme: Acme, mongo: Client
) -> None:
    usual = {"abortTransaction": 409}
    for command in acme.requests:
        for code in CODES:
            response = send(mongo, acme, shared, command, errorCode=code)
            what = f"{command}, code {code}"
            if command in usual:  # how it ends is not what the request is about
                assert response.status_code == usual[command], f"{what}: {response.text}"
            elif response.status_code >= 400:
                ensure_answers(response, KIND_OF_CODE.get(code, Kind.OURS), what)
            else:
                assert code in _RETRYABLE_ERROR_CODES or code in (50, 64, 112, 251), what


def test_a_write_that_no_majority_confirms_is_unavailable_whatever_the_code(
    shared: World, acme: Acme, mongo: Client
) -> None:
    for command in ("insert", "findAndModify", "commitTransaction"):
        for code in UNCONFIRMED:
            error = {"code": code, "errmsg": "not confirmed"}
            response = send(mongo, acme, shared, command, writeConcernError=error)
            what = f"{command}, code {code}"
            if response.status_code >= 300:
                ensure_answers(response, Kind.PASSING, what)
            else:
                assert code in (*_RETRYABLE_ERROR_CODES, 50, 64), what


@pytest.mark.parametrize("command", ["insert", "findAndModify"])
def test_a_write_that_is_refused_for_want_of_a_primary_is_done_once_more(
    shared: World, acme: Acme, mongo: Client, command: str
) -> None:
    """Without the label by which PyMongo does so itself, as in the middle of an election."""
    response = send(mongo, acme, shared, command, errorCode=NOT_WRITABLE_PRIMARY, errorLabels=[])
    assert response.status_code in (200, 201), response.text


def test_what_the_tenants_own_rules_refuse_is_a_conflict(shared: World, mongo: Client) -> None:
    """A validator, a unique index, a view in place of a collection."""
    owner = shared.tenant("Rules")
    db = shared.db_of(owner.tenant_id)
    admin = mongo[db.name]
    assert owner.post("/api/to-do-list", {"title": "Milk"}).status_code == 201

    admin.command("collMod", "todos", validator={"title": "Milk"})
    refusal(owner.post("/api/to-do-list", {"title": "Bread"}), 409, "conflict")
    admin.command("collMod", "todos", validator={})

    item = {"name": "Anvil", "quantity": 1, "price": "1.50"}
    admin.command("collMod", "orderItems", validator={"name": "Hammer"})
    refusal(owner.post("/api/orders", {"items": [item, item]}), 409, "conflict")
    assert answer(owner.get("/api/orders"))["items"] == []
    admin.command("collMod", "orderItems", validator={})
    assert owner.post("/api/orders", {"items": [item, item]}).status_code == 201

    admin["posts"].drop()
    admin.create_collection("posts", viewOn="todos", pipeline=[])
    post = {"title": "Title", "content": "Content"}
    refusal(owner.post("/api/posts", post), 409, "conflict")


def test_a_name_that_dns_does_not_resolve_is_unavailable(
    shared: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyMongo calls it a wrong configuration."""
    owner = shared.tenant("Remote")
    tenant_id = shared.record(owner.tenant_id)["_id"]
    cipher = shared.platform.cipher
    uri = "mongodb+srv://them:their-password@db.acme.example/acme"
    moved = {"cluster": "external", "dbUri": encrypt_uri(cipher, uri, tenant_id)}
    moved |= {"isolation": "dedicated"}
    failures: list[type[Exception]] = [dns.resolver.NXDOMAIN, dns.resolver.NoNameservers, OSError]
    for failure in failures:

        def resolve(*_: Any, failure: type[Exception] = failure, **__: Any) -> Any:
            raise failure

        monkeypatch.setattr(srv_resolver, "_resolve", resolve)
        before = shared.record(owner.tenant_id)
        shared.admin_db["tenants"].update_one({"_id": tenant_id}, {"$set": moved})
        shared.platform.connections.forget(tenant_id)
        try:
            response = owner.get("/api/to-do-list")
        finally:
            shared.admin_db["tenants"].replace_one({"_id": tenant_id}, before)
            shared.platform.connections.forget(tenant_id)
        ensure_answers(response, Kind.PASSING, failure.__name__)


@pytest.mark.slow
def test_the_change_stream_outlives_every_kind_of_error(shared: World, mongo: Client) -> None:
    """What changes afterwards is heard of as before."""
    owner = shared.tenant("Watched")
    shared.platform.watcher.ensure_running()
    status = itertools.cycle([("suspended", 403), ("active", 200)])
    query = {"_id": ObjectId(owner.tenant_id)}
    for code in (2, 11, 43, 136, 222, 237, 280, 286, 10107, 11601):
        before = failures(mongo)
        fail(mongo, {"times": 2}, "getMore", "aggregate", errorCode=code)
        eventually(lambda before=before: failures(mongo) >= before + 2)  # type: ignore[misc]
        end_faults(mongo)
        name, answered = next(status)
        shared.admin_db["tenants"].update_one(query, {"$set": {"status": name}})
        eventually(
            lambda expected=answered: (  # type: ignore[misc]
                owner.get("/api/users/me").status_code == expected
            )
        )


def failures(mongo: Client) -> int:
    """How many commands the failpoint has let fail until now."""
    command: dict[str, Any] = {"getParameter": 1, "failpoint.failCommand": 1}
    found = mongo.admin.command(command)["failpoint.failCommand"]
    return int(found["timesEntered"])
