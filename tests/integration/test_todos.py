"""/api/to-do-list."""

import pytest

from tests.support import World, answer, refusal

LIST = "/api/to-do-list"


def test_an_item_is_created_read_changed_and_deleted(world: World) -> None:
    owner = world.tenant("Acme")

    created = answer(
        owner.post(LIST, {"title": " Buy milk ", "dueAt": "2030-01-31T13:00:00+01:00"})
    )
    assert created["title"] == "Buy milk"
    assert created["done"] is False
    assert created["dueAt"] == "2030-01-31T12:00:00.000Z"
    assert set(created) == {"id", "title", "done", "dueAt", "createdAt", "updatedAt"}
    item = f"{LIST}/{created['id']}"
    assert answer(owner.get(item)) == created

    changed = answer(owner.patch(item, {"done": True, "dueAt": None}))
    assert (changed["done"], changed["dueAt"], changed["title"]) == (True, None, "Buy milk")
    assert changed["updatedAt"] >= created["updatedAt"]
    assert answer(owner.get(item)) == changed

    assert answer(owner.delete(item)) == changed
    refusal(owner.get(item), 404, "not_found")
    refusal(owner.delete(item), 404, "not_found")
    refusal(owner.patch(item, {"done": True}), 404, "not_found")


def test_creating_answers_201_and_a_message(world: World) -> None:
    response = world.tenant("Acme").post(LIST, {"title": "x"})
    assert response.status_code == 201
    assert response.get_json()["message"] == "To-do item added successfully"


@pytest.mark.parametrize("limit", [1, 2, 5])
def test_pages_show_every_item_once_in_a_stable_order(world: World, limit: int) -> None:
    owner = world.tenant("Acme")
    ids = [answer(owner.post(LIST, {"title": f"item {n}"}))["id"] for n in range(5)]

    seen: list[str] = []
    cursor = None
    while True:
        query = f"?limit={limit}" + (f"&cursor={cursor}" if cursor else "")
        page = answer(owner.get(LIST + query))
        seen += [item["id"] for item in page["items"]]
        assert len(page["items"]) <= limit
        cursor = page["nextCursor"]
        if cursor is None:
            break

    assert seen == ids


@pytest.mark.parametrize("cursor", ["x", "AAAA", "%00", "6b01495c11c99b6e947f21d9", "é"])
def test_a_cursor_that_no_list_answered_is_refused(world: World, cursor: str) -> None:
    refusal(world.tenant("Acme").get(f"{LIST}?cursor={cursor}"), 400, "invalid_cursor")


def test_a_cursor_of_another_list_is_refused(world: World) -> None:
    owner = world.tenant("Acme")
    for _ in range(2):
        owner.post("/api/posts", {"title": "x", "content": "y"})
    cursor = answer(owner.get("/api/posts?limit=1"))["nextCursor"]
    assert len(answer(owner.get(f"/api/posts?limit=1&cursor={cursor}"))["items"]) == 1
    refusal(owner.get(f"{LIST}?cursor={cursor}"), 400, "invalid_cursor")


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "page=2", "limit="])
def test_a_query_that_does_not_fit_is_refused_by_name(world: World, query: str) -> None:
    details = refusal(world.tenant("Acme").get(f"{LIST}?{query}"), 422, "validation_failed")
    assert details["incorrectField"] == query.partition("=")[0]


def test_a_tenant_sees_only_its_own_items(world: World) -> None:
    acme, globex = world.tenant("Acme"), world.tenant("Globex")
    item = answer(acme.post(LIST, {"title": "secret"}))

    assert answer(globex.get(LIST)) == {"items": [], "nextCursor": None}
    for method, body in (("GET", None), ("PATCH", {"title": "stolen"}), ("DELETE", None)):
        refusal(globex.send(method, f"{LIST}/{item['id']}", body), 404, "not_found")
    assert answer(acme.get(LIST))["items"] == [item]
