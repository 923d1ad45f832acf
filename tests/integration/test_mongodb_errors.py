"""MongoDB's error codes, at every kind of command, are answered with what they mean.

The codes come from MongoDB itself, by its failpoint `failCommand`: 503 with Retry-After where the
same request may succeed later, 409 where the data does not allow it, 500 for a bug of the platform.
"""

import itertools
from typing import Any

import dns.resolver
import pytest
from bson import ObjectId
from pymongo.synchronous import srv_resolver

from multitenant.repositories.error_codes import NOT_WRITABLE_PRIMARY, Kind
from multitenant.tenancy.deployments.external import encrypt_uri
from tests.failpoints import Client, count_faults, end_faults, fail
from tests.integration.failing_commands import FailingCommands, ensure_answers
from tests.support import World, answer, eventually, refusal

CODES = (2, 20, 43, 91, 112, 202, 99_999)
"""One of each kind, some that drivers retry and some that they do not, and one that MongoDB does
not have. All codes are tried in test_every_error_code.py."""
UNCONFIRMED = (2, 64, 91, 100)


@pytest.fixture(scope="module")
def failing(impatient: World, mongo: Client) -> FailingCommands:
    """For all tests here."""
    return FailingCommands(impatient, mongo)


@pytest.mark.slow
def test_every_kind_of_command_answers_what_its_error_means(failing: FailingCommands) -> None:
    for name in failing.requests:
        for code in CODES:
            failing.ensure_means(name, code, failing.send(name, errorCode=code))


@pytest.mark.slow
def test_a_write_that_no_majority_confirms_is_unavailable_whatever_the_code(
    failing: FailingCommands,
) -> None:
    for name in ("insert", "findAndModify", "commitTransaction"):
        for code in UNCONFIRMED:
            error = {"code": code, "errmsg": "not confirmed"}
            response = failing.send(name, writeConcernError=error)
            if response.status_code >= 300:
                ensure_answers(response, Kind.PASSING, f"{name}, code {code}")


@pytest.mark.parametrize("command", ["insert", "findAndModify"])
def test_a_write_that_is_refused_for_want_of_a_primary_is_done_once_more(
    failing: FailingCommands, command: str
) -> None:
    """Without the label by which PyMongo does so itself, as in the middle of an election."""
    response = failing.send(command, errorCode=NOT_WRITABLE_PRIMARY, errorLabels=[])
    assert response.status_code in (200, 201), response.text


def test_what_the_tenants_own_rules_refuse_is_a_conflict(impatient: World, mongo: Client) -> None:
    """A validator, a unique index, a view in place of a collection."""
    owner = impatient.tenant("Rules")
    db = impatient.db_of(owner.tenant_id)
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
    impatient: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyMongo calls it a wrong configuration."""
    owner = impatient.tenant("Remote")
    tenant_id = impatient.record(owner.tenant_id)["_id"]
    cipher = impatient.platform.cipher
    uri = "mongodb+srv://them:their-password@db.acme.example/acme"
    moved = {"cluster": "external", "dbUri": encrypt_uri(cipher, uri, tenant_id)}
    moved |= {"isolation": "dedicated"}
    failures: list[type[Exception]] = [dns.resolver.NXDOMAIN, dns.resolver.NoNameservers, OSError]
    for failure in failures:

        def resolve(*_: Any, failure: type[Exception] = failure, **__: Any) -> Any:
            raise failure

        monkeypatch.setattr(srv_resolver, "_resolve", resolve)
        before = impatient.record(owner.tenant_id)
        impatient.admin_db["tenants"].update_one({"_id": tenant_id}, {"$set": moved})
        impatient.platform.connections.forget(tenant_id)
        try:
            response = owner.get("/api/to-do-list")
        finally:
            impatient.admin_db["tenants"].replace_one({"_id": tenant_id}, before)
            impatient.platform.connections.forget(tenant_id)
        ensure_answers(response, Kind.PASSING, failure.__name__)


@pytest.mark.slow
def test_the_change_stream_outlives_every_kind_of_error(impatient: World, mongo: Client) -> None:
    """What changes afterwards is heard of as before."""
    owner = impatient.tenant("Watched")
    impatient.platform.watcher.ensure_running()
    status = itertools.cycle([("suspended", 403), ("active", 200)])
    query = {"_id": ObjectId(owner.tenant_id)}
    for code in (2, 43, 286):
        before = count_faults(mongo)
        fail(mongo, {"times": 2}, "getMore", "aggregate", errorCode=code)
        eventually(lambda before=before: count_faults(mongo) >= before + 2)  # type: ignore[misc]
        end_faults(mongo)
        name, answered = next(status)
        impatient.admin_db["tenants"].update_one(query, {"$set": {"status": name}})
        eventually(
            lambda expected=answered: (  # type: ignore[misc]
                owner.get("/api/users/me").status_code == expected
            )
        )
