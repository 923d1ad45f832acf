"""What one tenant's database or record contains is that tenant's problem: every work that visits
several tenants reports it and goes on, and nobody else is refused."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import bson
import pytest
from bson import DBRef, Int64, ObjectId
from bson.datetime_ms import DatetimeMS
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient

from multitenant.repositories.model import utc_now
from multitenant.tenancy.operations.fleet import Fleet
from tests.integration.backups import Multitenant
from tests.support import PASSWORD, World, answer, refusal

Client = MongoClient[dict[str, Any]]

NO_TEXT = bson.encode({"email": "owner@shared.example", "name": "ab"}).replace(b"ab", b"\xff\xfe")
BAD_FIELDS: list[dict[str, Any]] = [
    {"createdAt": DatetimeMS(2**62)},
    {"createdAt": DatetimeMS(-(2**62))},
    {"updatedAt": DatetimeMS(253402300800000)},
    {"createdAt": "yesterday"},
    {"createdAt": None},
    {"role": DatetimeMS(2**62)},
    {"email": 7},
    {"email": {"$numberLong": "1"}},
    {"tokenVersion": Int64(2**62)},
    {"invitationId": RawBSONDocument(NO_TEXT)},
    {"password": RawBSONDocument(NO_TEXT)},
    {"more": DBRef("users", 1, "admin")},
    {"more": RawBSONDocument(bson.encode({"$ref": 1, "$id": 1, "$db": 1}))},
]
BAD_SECRETS: dict[str, Callable[[dict[str, str]], Any]] = {
    "base64": lambda it: {**it, "ciphertext": "!not base 64!"},
    "padding": lambda it: {**it, "ciphertext": it["ciphertext"][:-3]},
    "short": lambda it: {**it, "ciphertext": "AA=="},
    "empty": lambda it: {**it, "ciphertext": ""},
    "altered": lambda it: {**it, "ciphertext": it["ciphertext"][::-1].replace("=", "") + "===="},
    "nonce": lambda it: {**it, "nonce": "AA=="},
    "no nonce": lambda it: {**it, "nonce": ""},
    "not ascii": lambda it: {**it, "nonce": "ü"},
    "other key": lambda it: {**it, "keyId": "0" * 16},
    "key of another type": lambda it: {**it, "keyId": {"a": 1}},
    "bytes": lambda it: {**it, "ciphertext": b"\x00\x01"},
    "number": lambda it: {**it, "ciphertext": 7},
    "missing": lambda it: {"keyId": it["keyId"]},
    "nothing": lambda it: {},
    "text": lambda it: "mongodb://example",
    "list": lambda it: [it],
    "integer": lambda it: 7,
}


@pytest.fixture(autouse=True)
def _as_before(shared: World) -> Iterator[None]:
    """The record and the user of the tenant that is spoilt are put back."""
    spoilt = spoilt_tenant(shared)
    record = shared.record(spoilt.tenant_id)
    users = shared.db_of(spoilt.tenant_id)["users"]
    raw = users.with_options(bson.CodecOptions(document_class=RawBSONDocument))
    before = raw.find_one({"_id": ObjectId(spoilt.user_id)})
    assert before is not None
    yield
    shared.admin_db["tenants"].replace_one({"_id": record["_id"]}, record)
    raw.replace_one({"_id": ObjectId(spoilt.user_id)}, before)
    shared.platform.connections.evict(record["_id"])


def spoilt_tenant(world: World) -> Any:
    """The owner of `Acme`, a dedicated tenant; the same email owns the sound tenant `Globex`."""
    if world.owner is None:
        world.add(name="Globex", email="owner@shared.example", password="a password of Globex")
        world.owner = world.tenant("Acme", email="owner@shared.example", isolation="dedicated")
    return world.owner


def ensure_others_are_well(world: World) -> None:
    """The victim logs in to the tenant of their own, naming none; gc and usage go through."""
    victim = world.login("owner@shared.example", "a password of Globex")
    assert victim.get("/api/users/me").status_code == 200
    wrong = {"email": "owner@shared.example", "password": "in neither"}
    assert world.client.post("/api/login", json=wrong).status_code in (401, 503)
    with Fleet(world.platform.connections, world.platform.cipher, parallel=2) as fleet:
        outcomes = list(fleet.verify(world.admin_db["tenants"].find()))
    assert {it.name for it in outcomes if it.error is None} >= {"Globex"}
    actor_free = world.garbage_collector().find(None, older_than=timedelta(0))  # type: ignore[arg-type]
    assert isinstance(list(actor_free), list)
    usage = answer(world.operator.get("/api/usage"))
    assert "Globex" in {item["name"] for item in usage["items"]}


@pytest.mark.parametrize("change", BAD_FIELDS, ids=str)
def test_a_user_of_another_shape_keeps_nobody_from_their_own_tenant(
    shared: World, change: dict[str, Any]
) -> None:
    spoilt = spoilt_tenant(shared)
    shared.db_of(spoilt.tenant_id)["users"].update_one(
        {"_id": ObjectId(spoilt.user_id)}, [{"$set": {"x": 1}}]
    )
    shared.db_of(spoilt.tenant_id)["users"].update_one(
        {"_id": ObjectId(spoilt.user_id)}, {"$set": change}
    )
    ensure_others_are_well(shared)
    body = {"email": "owner@shared.example", "password": PASSWORD}
    assert shared.client.post("/api/login", json=body).status_code in (200, 401, 503)


@pytest.mark.parametrize("kind", BAD_SECRETS)
def test_credentials_that_cannot_be_read_keep_nobody_from_their_own_tenant(
    shared: World, kind: str
) -> None:
    spoilt = spoilt_tenant(shared)
    record = shared.record(spoilt.tenant_id)
    credentials = BAD_SECRETS[kind](record["credentials"])
    shared.admin_db["tenants"].update_one(
        {"_id": record["_id"]}, {"$set": {"credentials": credentials}}
    )
    shared.platform.connections.evict(record["_id"])
    ensure_others_are_well(shared)
    refusal(spoilt.get("/api/users/me"), 503, "database_unavailable")
    (failed,) = answer(shared.operator.get("/api/usage"))["errors"]
    assert (failed["name"], failed["code"]) == ("Acme", "database_unavailable")


@pytest.mark.parametrize("change", [{"name": 7}, {"domains": None}, {"modules": 7}, {"system": 1}])
def test_a_record_of_another_shape_keeps_nobody_from_their_own_tenant(
    shared: World, change: dict[str, Any]
) -> None:
    spoilt = spoilt_tenant(shared)
    shared.admin_db["tenants"].update_one({"_id": ObjectId(spoilt.tenant_id)}, {"$set": change})
    shared.platform.connections.evict(ObjectId(spoilt.tenant_id))
    victim = shared.login("owner@shared.example", "a password of Globex")
    assert victim.get("/api/users/me").status_code == 200


class TestCommands:
    """The same on the command line, once for each kind."""

    @pytest.fixture
    def spoilt(self, world: World, blue: Client) -> World:
        """`Acme` has users who are no users, on another cluster; `Initech` has credentials that
        nobody can read, and was deleted long ago; `Globex` is well, and deleted as well."""
        acme = world.tenant("Acme", cluster="blue")
        db = blue[world.record(acme.tenant_id)["dbName"]]
        db["users"].update_many({}, {"$set": {"role": DatetimeMS(2**62)}})
        db["users"].insert_one({"createdAt": DatetimeMS(2**62)})
        db["migrations"].insert_one({"_id": DatetimeMS(2**62)})
        old = ObjectId.from_datetime(utc_now() - timedelta(hours=1))
        tenant_id = ObjectId(acme.tenant_id)
        world.admin_db["tenantusers"].insert_one({"_id": old, "email": "x", "tenantId": tenant_id})
        long_ago = utc_now() - timedelta(days=100)
        for name in ("Initech", "Globex"):
            owner = world.tenant(name, isolation="dedicated", cluster="default")
            world.admin_db["tenants"].update_one(
                {"_id": ObjectId(owner.tenant_id)},
                {"$set": {"status": "deleted", "deletedAt": long_ago}},
            )
        world.admin_db["tenants"].update_one(
            {"name": "Initech"}, {"$set": {"credentials.ciphertext": "!"}}
        )
        return world

    def test_garbage_of_the_others_is_collected(
        self, spoilt: World, multitenant: Multitenant
    ) -> None:
        result = multitenant("tenants", "gc", "--yes")
        assert "Traceback" not in result.output
        left = {record["name"] for record in spoilt.admin_db["tenants"].find()}
        assert "Globex" not in left
        assert "Acme" in left

    def test_the_others_are_migrated_backed_up_and_looked_at(
        self, spoilt: World, multitenant: Multitenant
    ) -> None:
        records = spoilt.admin_db["tenants"]
        records.update_many({}, {"$set": {"schemaVersion": 1}})
        elsewhere = {"cluster": "external", "dbUri": "no encrypted field"}
        records.update_one({"name": "Initech"}, {"$set": elsewhere})
        result = multitenant("migrations", "run", code=1)
        assert "Initech" in result.output
        assert "Traceback" not in result.output
        versions = {it["name"]: it["schemaVersion"] for it in records.find()}
        assert versions["Acme"] == versions["Globex"] > versions["Initech"]
        result = multitenant("backup", "--all", "--output", "backups", code=1)
        assert "Initech" in result.output
        (globex,) = (it["_id"] for it in records.find({"name": "Globex"}))
        assert Path("backups", str(globex)).is_dir()
        records.update_one({"name": "Initech"}, {"$set": {"cluster": "default"}})
        for arguments in (("clusters", "list"), ("tenants", "list")):
            assert "Traceback" not in multitenant(*arguments).output

    def test_the_others_keys_are_rotated(
        self,
        spoilt: World,
        multitenant: Multitenant,
        monkeypatch: pytest.MonkeyPatch,
        environment: dict[str, str],
    ) -> None:
        new = "the-key-after-that-one" + "02468ace13579bdf" * 4
        monkeypatch.setenv("CREDENTIAL_KEYS", f"{new},{environment['CREDENTIAL_KEYS']}")
        before = spoilt.admin_db["tenants"].find_one({"name": "Globex"})
        result = multitenant("keys", "rotate", code=1)
        assert "1 cannot be decrypted" in result.output
        initech = spoilt.admin_db["tenants"].find_one({"name": "Initech"})
        assert initech is not None
        assert str(initech["_id"]) in result.output
        after = spoilt.admin_db["tenants"].find_one({"name": "Globex"})
        assert before is not None
        assert after is not None
        assert before["credentials"]["keyId"] != after["credentials"]["keyId"]
        monkeypatch.setenv("CREDENTIAL_KEYS", new)
