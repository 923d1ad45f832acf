"""A write that waited is checked again by what a primary says: one that was cut off from the other
members answers reads as ever, and the tenant's own cluster takes the write."""

from typing import Any

import pytest
from pymongo import MongoClient

from multitenant.errors import DatabaseUnavailable
from multitenant.middleware import database_resolver
from multitenant.tenancy.deployments import write_permission
from tests.support import World, refusal

Client = MongoClient[dict[str, Any]]


def test_without_one_it_is_refused(
    world: World, blue: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = world.tenant("Acme", cluster="blue")
    db = blue[world.record(owner.tenant_id)["dbName"]]
    watcher, permit = world.platform.watcher, write_permission.set_write_permission

    def nothing_proves_it() -> float:
        raise DatabaseUnavailable

    def permit_and_be_cut_off(permission: Any) -> None:
        permit(permission)
        monkeypatch.setattr(watcher, "_is_current", lambda _: False)
        monkeypatch.setattr(watcher._proof, "moment", nothing_proves_it)

    monkeypatch.setattr(write_permission, "RECHECK_SECONDS", 0)
    monkeypatch.setattr(database_resolver, "set_write_permission", permit_and_be_cut_off)
    response = owner.post("/api/to-do-list", {"title": "Too late"})
    refusal(response, 503, "database_unavailable")
    assert db["todos"].count_documents({}) == 0
    monkeypatch.undo()
    assert owner.post("/api/to-do-list", {"title": "In time"}).status_code == 201
