"""Lists end early, with a cursor, where their items are many bytes; nothing is left out by that."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from bson import Decimal128, ObjectId

from multitenant.repositories.bounded_reads import DOCUMENT_BYTES, PAGE_BYTES
from multitenant.repositories.model import MongoDatabase
from tests.support import User, World, answer, refusal

ENVELOPE = 100_000
"""What an answer may have besides what is stored: names, ids, the envelope."""
BIG = 80_000


@pytest.fixture(scope="module")
def owner(shared: World) -> User:
    return shared.tenant("Bounded")


@pytest.fixture
def db(shared: World, owner: User) -> Iterator[MongoDatabase]:
    db = shared.db_of(owner.tenant_id)
    yield db
    for noun in ("settings", "posts", "comments", "orders", "orderItems", "todos"):
        db[noun].delete_many({})


def pages(user: User, path: str, *, bound: int = PAGE_BYTES) -> list[list[Any]]:
    """The pages of a list, none of which is larger than the bound."""
    found: list[list[Any]] = []
    cursor = None
    mark = "&" if "?" in path else "?"
    while not found or cursor:
        query = f"{mark}limit=100" + (f"&cursor={cursor}" if cursor else "")
        response = user.get(path + query)
        page = answer(response)
        assert page["items"], "each page has one at least"
        assert len(response.data) < bound + ENVELOPE
        found.append(page["items"])
        cursor = page["nextCursor"]
        assert len(found) < 200, "the list has no end"
    return found


def stored(**fields: Any) -> dict[str, Any]:
    now = datetime.now(UTC)
    return {"_id": ObjectId(), "createdAt": now, "updatedAt": now, **fields}


def test_many_large_settings_take_several_pages(owner: User, db: MongoDatabase) -> None:
    made = [stored(key=f"k{number}", value="x" * 65_000) for number in range(99)]
    db["settings"].insert_many(made)
    found = pages(owner, "/api/settings")
    assert [item["key"] for page in found for item in page] == [each["key"] for each in made]
    assert len(found) == 7


def test_what_is_large_once_decoded_is_bounded_by_what_it_is_undecoded(
    owner: User, db: MongoDatabase
) -> None:
    """An empty object takes two bytes as JSON, twelve in MongoDB, and eighty in Python."""
    db["settings"].insert_many(
        [stored(key=f"k{number}", value=[{}] * 21_000) for number in range(20)]
    )
    found = pages(owner, "/api/settings")
    assert sum(map(len, found)) == 20
    assert max(map(len, found)) <= 5


def test_a_setting_may_have_so_many_values(owner: User) -> None:
    path = "/api/settings/nodes"
    values: list[Any] = [[{}] * 20_000, [[1] * 10_000], {"a": {str(n): n for n in range(10_000)}}]
    for value in values:
        refusal(owner.put(path, {"value": value}), 422, "validation_failed")
    assert answer(owner.put(path, {"value": [1] * 9_999}))["value"] == [1] * 9_999
    assert owner.delete(path).status_code == 200


@pytest.mark.parametrize("size", [DOCUMENT_BYTES, 6 * DOCUMENT_BYTES])
def test_of_a_document_that_is_too_large_the_rest_is_shown(
    owner: User, db: MongoDatabase, size: int
) -> None:
    items = size // 12
    db["settings"].insert_one(stored(key="huge", value=[{}] * items))
    db["todos"].insert_one(stored(title="small", done=True, notes=["x" * 1000] * (size // 1000)))
    shown = answer(owner.get("/api/settings/huge"))
    assert isinstance(shown["value"], str)
    assert "too many to be shown" in shown["value"]
    assert pages(owner, "/api/settings") == [[shown]]
    ((todo,),) = pages(owner, "/api/to-do-list")
    assert (todo["title"], todo["done"]) == ("small", True)
    assert answer(owner.put("/api/settings/huge", {"value": "small"}))["value"] == "small"


def test_posts_with_their_comments_are_bounded(owner: User, db: MongoDatabase) -> None:
    author = ObjectId(owner.user_id)
    posts = [
        stored(title=f"p{number}", content="x", published=True, authorId=author)
        for number in range(60)
    ]
    db["posts"].insert_many(posts)
    for post in posts:
        comments = [
            stored(postId=post["_id"], authorId=author, content=f"c{number}" + "x" * 7_000)
            for number in range(12)
        ]
        db["comments"].insert_many(comments)
    found = pages(owner, "/api/posts/published?include=comments", bound=PAGE_BYTES + 12 * 8_000)
    items = [item for page in found for item in page]
    assert [item["title"] for item in items] == [post["title"] for post in posts]
    assert all(len(item["comments"]["items"]) == 10 for item in items)
    assert len(found) > 4


def test_a_post_with_comments_beyond_any_size_is_shown(owner: User, db: MongoDatabase) -> None:
    author = ObjectId(owner.user_id)
    post = stored(title="p", content="x", published=True, authorId=author)
    db["posts"].insert_one(post)
    for _ in range(3):
        db["comments"].insert_one(
            stored(postId=post["_id"], authorId=author, content="x" * 8_000_000)
        )
    shown = answer(owner.get(f"/api/posts/{post['_id']}?include=comments"))
    assert [each["content"] for each in shown["comments"]["items"]] == [None] * 3
    comments = pages(owner, f"/api/posts/{post['_id']}/comments")
    assert sum(map(len, comments)) == 3


def test_posts_are_bounded(owner: User, db: MongoDatabase) -> None:
    fields = {"published": True, "authorId": ObjectId(owner.user_id), "content": "x" * BIG}
    db["posts"].insert_many([stored(title=f"p{number}", **fields) for number in range(40)])
    found = pages(owner, "/api/posts")
    assert [item["title"] for page in found for item in page] == [f"p{n}" for n in range(40)]
    assert len(found) == 4


def test_orders_with_many_items_are_bounded(owner: User, db: MongoDatabase) -> None:
    orders = [stored(total=Decimal128("1.00")) for _ in range(40)]
    db["orders"].insert_many(orders)
    amounts = {"quantity": 1, "price": Decimal128("1.00")}
    for order in reversed(orders):
        db["orderItems"].insert_many(
            [
                stored(orderId=order["_id"], position=position, name="x" * 700, **amounts)
                for position in range(100)
            ]
        )
    found = pages(owner, "/api/orders")
    items = [item for page in found for item in page]
    assert [item["id"] for item in items] == [str(order["_id"]) for order in orders]
    assert all(len(item["items"]) == 100 for item in items)
    assert len(found) > 2


def test_an_order_with_items_beyond_any_size_is_shown(owner: User, db: MongoDatabase) -> None:
    orders = [stored(total=Decimal128("1.00")) for _ in range(2)]
    db["orders"].insert_many(orders)
    for position in range(5):
        db["orderItems"].insert_one(
            stored(orderId=orders[0]["_id"], position=position, name="x" * 700_000, quantity=1)
        )
    first, second = pages(owner, "/api/orders")
    assert [item["id"] for item in first + second] == [str(order["_id"]) for order in orders]
    assert [item["quantity"] for item in first[0]["items"]] == [1]
    assert answer(owner.get(f"/api/orders/{orders[0]['_id']}")) == first[0]


def test_the_audit_log_is_bounded(shared: World) -> None:
    entries = [
        {"at": datetime.now(UTC), "action": "test.bounds", "details": {"x": "x" * BIG}}
        for _ in range(40)
    ]
    shared.admin_db["audit"].insert_many(entries)
    try:
        found = pages(shared.operator, "/api/audit?action=test.bounds")
    finally:
        shared.admin_db["audit"].delete_many({"action": "test.bounds"})
    assert sum(map(len, found)) == 40
    assert len(found) == 4
