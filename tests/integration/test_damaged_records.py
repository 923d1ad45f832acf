"""Tenants' records that somebody has edited by hand: such a tenant is refused and named, and what
is done for all tenants goes on."""

from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from bson import Int64, ObjectId
from bson.datetime_ms import DatetimeMS
from pymongo.errors import DuplicateKeyError

from multitenant.repositories.model import utc_now
from tests.integration.backups import Multitenant, told
from tests.support import User, World, answer, refusal

FAR = DatetimeMS(2**62)
MISSING = Ellipsis
REFUSED: list[tuple[str, Any]] = [
    *((name, MISSING) for name in ("name", "dbName", "cluster", "isolation", "status", "system")),
    *(("name", value) for value in (None, 7, FAR)),
    *(("dbName", value) for value in (None, 7, b"\x00", ["x"])),
    *(("cluster", value) for value in (None, 7, {"a": 1})),
    *(("status", value) for value in ("unknown", 7, None)),
    *(("isolation", value) for value in ("none", FAR)),
    *(("system", value) for value in (None, 0, "false")),
    *(("modules", value) for value in ("todos", [7], 7)),
    *(("domains", value) for value in (7, [None], {"a": 1})),
    *(("subdomain", value) for value in (7, FAR)),
    *(("maintenanceUntil", value) for value in ("soon", FAR)),
]
"""A field, and what stands in it: nobody knows where the tenant's data is, or who may use it."""
SHOWN: list[tuple[str, Any]] = [
    *(("schemaVersion", value) for value in (MISSING, None, "5", FAR, [5], float("nan"))),
    *(("createdAt", value) for value in (MISSING, None, "today", FAR, DatetimeMS(-(2**62)))),
    *(("updatedAt", value) for value in (MISSING, FAR)),
    *(("suspendedAt", value) for value in ("x", FAR)),
    *(("deletedAt", value) for value in ("x", FAR)),
    *(("userLimit", value) for value in ("x", float("nan"))),
]
"""The same, of fields that are only shown, or needed for little."""


def change(world: World, tenant_id: str, field: str, value: Any) -> None:
    update = {"$unset": {field: ""}} if value is MISSING else {"$set": {field: value}}
    world.admin_db["tenants"].update_one({"_id": ObjectId(tenant_id)}, update)
    world.platform.connections.evict(ObjectId(tenant_id))


class TestRequests:
    @pytest.fixture
    def owner(self, shared: World) -> Iterator[User]:
        """The owner of `Acme`, whose record is put back; `Globex` is well, and has the same."""
        if shared.owner is None:
            shared.add(name="Globex", email="owner@shared.example", password="that of Globex")
            shared.owner = shared.tenant("Acme", email="owner@shared.example")
        record = shared.record(shared.owner.tenant_id)
        yield shared.owner
        shared.admin_db["tenants"].replace_one({"_id": record["_id"]}, record)
        shared.platform.connections.evict(record["_id"])

    @pytest.mark.parametrize(("field", "value"), REFUSED[::2], ids=str)
    def test_the_tenant_is_refused_and_the_others_are_not(
        self, shared: World, owner: User, field: str, value: Any
    ) -> None:
        change(shared, owner.tenant_id, field, value)
        refusal(owner.get("/api/users/me"), 503, "database_unavailable")
        path = f"/api/tenants/{owner.tenant_id}"
        assert shared.operator.get(path).status_code == 200
        for said in (
            shared.operator.patch(path, {"userLimit": 5}),
            shared.operator.post(f"{path}/suspend"),
            shared.operator.post(f"{path}/rotate-credentials"),
            shared.operator.delete(path),
        ):
            assert field in refusal(said, 503, "database_unavailable") or field in said.text
        usage = answer(shared.operator.get("/api/usage"))
        assert {it["tenantId"] for it in usage["errors"]} == {owner.tenant_id}
        assert "Globex" in {it["name"] for it in usage["items"]}
        assert shared.login("owner@shared.example", "that of Globex")
        body = {"email": "owner@shared.example", "password": "that of nobody"}
        assert shared.client.post("/api/login", json=body).status_code in (401, 503)

    @pytest.mark.parametrize(("field", "value"), SHOWN[::2], ids=str)
    def test_what_is_only_shown_keeps_nobody_out(
        self, shared: World, owner: User, field: str, value: Any
    ) -> None:
        change(shared, owner.tenant_id, field, value)
        assert owner.get("/api/users/me").status_code == 200
        assert answer(shared.operator.get("/api/usage"))["errors"] == []
        new = {"email": f"{ObjectId()}@acme.example", "role": "member"}
        added = owner.post("/api/users", new)
        if field == "userLimit":
            refusal(added, 503, "database_unavailable")
        else:
            assert added.status_code == 201


class TestCommands:
    """Once for each command, with records of all of these kinds."""

    @pytest.fixture
    def sound(self, world: World) -> Iterator[User]:
        base = world.record(world.tenant("Acme").tenant_id)
        made: list[ObjectId] = []
        long_ago = utc_now() - timedelta(days=100)
        for number, (field, value) in enumerate([*REFUSED, *SHOWN, ("schemaVersion", Int64(99))]):
            for status in ("active", "deleted", "maintenance"):
                record = {**base, "_id": ObjectId(), "name": f"{status} {number}", "status": status}
                record["dbName"] = f"{base['dbName']}{number}{status}"
                if status == "deleted":
                    record["deletedAt"] = long_ago
                if status == "maintenance":
                    record["maintenanceUntil"] = long_ago
                record[field] = value
                if value is MISSING:
                    del record[field]
                with suppress(DuplicateKeyError):  # of two that have no name, say
                    made.append(world.admin_db["tenants"].insert_one(record).inserted_id)
        yield world.tenant("Globex")
        world.admin_db["tenants"].delete_many({"_id": {"$in": made}})

    def test_each_goes_through_all_tenants(self, sound: User, multitenant: Multitenant) -> None:
        for line, code in (
            ("tenants list", 0),
            ("tenants list --json", 0),
            ("migrations status --json", 1),
            ("migrations status", 1),
            ("migrations status --indexes", 1),
            ("migrations run --on-failure continue", 1),
            ("clusters list", 0),
            ("clusters drain default --json", 0),
        ):
            assert "Traceback" not in multitenant(*line.split(), code=code).output, line

    def test_the_others_garbage_is_collected(
        self, world: World, sound: User, multitenant: Multitenant
    ) -> None:
        long_ago = {"status": "deleted", "deletedAt": utc_now() - timedelta(days=100)}
        world.admin_db["tenants"].update_one({"name": "Acme"}, {"$set": long_ago})
        started = [utc_now() - timedelta(days=1), DatetimeMS(-(2**62))]
        notes = world.admin_db["provisionings"]
        notes.insert_many([{"_id": {"a": at}, "startedAt": at} for at in started])
        multitenant("tenants", "gc", "--yes", code=1)
        assert world.admin_db["tenants"].find_one({"name": "Acme"}) is None
        notes.delete_many({"dbName": None})

    def test_the_others_are_backed_up(
        self, sound: User, multitenant: Multitenant, tmp_path: Path
    ) -> None:
        multitenant("backup", "--all", "--output", tmp_path / "backups", code=1)
        assert (tmp_path / "backups" / sound.tenant_id).is_dir()

    def test_the_doctor_names_them(self, sound: User, multitenant: Multitenant) -> None:
        found = {
            it["check"]: it for it in told(multitenant("doctor", "--json", code=1))["findings"]
        }
        assert "cluster" in found["tenants' records"]["found"]
        assert not [it for it in found.values() if "itself has failed" in it["found"]]
