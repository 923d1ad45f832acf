"""GET /api/usage where there are more collections than one command takes, or with names that the
driver refuses."""

from typing import Any

import pytest
from pymongo import MongoClient

from multitenant.repositories import usage
from tests.support import World, answer

Client = MongoClient[dict[str, Any]]


def test_collections_of_any_name_are_measured(shared: World) -> None:
    owner = shared.tenant("Names")
    db = shared.db_of(owner.tenant_id)
    names = ["a..b", "a.", "x" * 150, "système", "with space", "...", "a.b.c", "-"]
    made = [name for name in names if db.command("create", name, check=False)["ok"]]
    assert "a..b" in made
    shown = answer(shared.operator.get(f"/api/tenants/{owner.tenant_id}/usage"))
    assert set(made) <= {each["name"] for each in shown["collections"]}
    assert (shown["unmeasured"], shown["unmeasuredCount"]) == ([], 0)


def test_more_collections_than_a_pipeline_takes_are_measured_and_the_rest_is_named(
    shared: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bounds are small here: a thousand collections take mongod several seconds."""
    monkeypatch.setattr(usage, "MEASURED_AT_ONCE", 3)
    monkeypatch.setattr(usage, "MAX_COLLECTIONS", 10)
    monkeypatch.setattr(usage, "MAX_NAMED", 4)
    owner = shared.tenant("Many")
    db = shared.db_of(owner.tenant_id)
    for number in range(15):
        db[f"c{number:02}"].insert_one({"x": number})
    shown = answer(shared.operator.get(f"/api/tenants/{owner.tenant_id}/usage"))
    names = sorted(db.list_collection_names())
    assert [each["name"] for each in shown["collections"]] == names[:10]
    assert [each["name"] for each in shown["unmeasured"]] == names[10:14]
    assert shown["unmeasuredCount"] == len(names) - 10
    assert all(each["message"] for each in shown["unmeasured"])
    assert shown["documents"] == sum(db[name].count_documents({}) for name in names)
    page = answer(shared.operator.get("/api/usage?q=Many"))
    assert page["items"] == [shown]


def test_a_collection_that_mongodb_does_not_measure_is_named(
    shared: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = shared.tenant("Refused")
    db = shared.db_of(owner.tenant_id)
    db["todos"].insert_one({})
    db.create_collection("view", viewOn="todos")
    names = usage._collection_names
    monkeypatch.setattr(usage, "_collection_names", lambda db: [*names(db), "view"])
    shown = answer(shared.operator.get(f"/api/tenants/{owner.tenant_id}/usage"))
    assert [each["name"] for each in shown["unmeasured"]] == ["view"]
    assert "todos" in {each["name"] for each in shown["collections"]}


def test_a_page_of_usage_is_bounded_in_collections(
    shared: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("multitenant.tenancy.operations.usage.PAGE_COLLECTIONS", 1)
    for number in range(3):
        shared.tenant(f"Paged{number}")
    seen, query = [], "?q=Paged&limit=2"
    while query:
        page = answer(shared.operator.get(f"/api/usage{query}"))
        assert len(page["items"]) == 1
        seen += [item["name"] for item in page["items"]]
        cursor = page["nextCursor"]
        query = f"?q=Paged&limit=2&cursor={cursor}" if cursor else ""
    assert seen == ["Paged0", "Paged1", "Paged2"]


def test_a_list_is_read_in_several_batches(shared: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "BATCH", 2)
    owner = shared.tenant("Batches")
    made = {f"c{number}" for number in range(5)}
    for name in made:
        shared.db_of(owner.tenant_id)[name].insert_one({})
    shown = answer(shared.operator.get(f"/api/tenants/{owner.tenant_id}/usage"))
    assert made <= {it["name"] for it in shown["collections"]}
