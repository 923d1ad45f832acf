"""/api/orders: an order and its items are one thing, and money is decimal."""

from typing import Any

import pytest
from bson import Decimal128, ObjectId
from pymongo import MongoClient

from tests.failpoints import failing
from tests.support import World, answer, refusal

ORDERS = "/api/orders"
ANVILS = {"name": "Anvil", "quantity": 3, "price": "19.99"}
GLUE = {"name": "Glue", "quantity": 1, "price": "0.1"}


def test_an_order_is_placed_and_read_with_its_items_and_total(world: World) -> None:
    owner = world.tenant("Acme")
    placed = answer(owner.post(ORDERS, {"items": [ANVILS, GLUE]}))

    assert set(placed) == {"id", "items", "total", "createdAt", "updatedAt"}
    assert placed["items"] == [ANVILS, {**GLUE, "price": "0.10"}]
    assert placed["total"] == "60.07"
    assert answer(owner.get(f"{ORDERS}/{placed['id']}")) == placed
    assert answer(owner.get(ORDERS)) == {"items": [placed], "nextCursor": None}

    db = world.db_of(owner.tenant_id)
    stored = db["orders"].find_one({"_id": ObjectId(placed["id"])})
    assert stored is not None
    assert stored["total"] == Decimal128("60.07")
    prices = [item["price"] for item in db["orderItems"].find().sort("position")]
    assert prices == [Decimal128("19.99"), Decimal128("0.10")]


def test_an_order_of_a_dedicated_tenant_is_placed_with_its_own_client(world: World) -> None:
    owner = world.tenant("Acme", isolation="dedicated")
    placed = answer(owner.post(ORDERS, {"items": [ANVILS]}))
    assert answer(owner.get(f"{ORDERS}/{placed['id']}")) == placed


@pytest.mark.parametrize("step", [0, 1])
def test_when_a_write_fails_neither_order_nor_items_are_left(
    world: World, mongo: MongoClient[dict[str, Any]], step: int
) -> None:
    owner = world.tenant("Acme")
    db = world.db_of(owner.tenant_id)
    with failing(mongo, {"skip": step}, "insert", errorCode=2):
        refusal(owner.post(ORDERS, {"items": [ANVILS, GLUE]}), 500, "internal_error")
    assert [db[name].count_documents({}) for name in ("orders", "orderItems")] == [0, 0]
    assert answer(owner.get(ORDERS))["items"] == []
    assert owner.post(ORDERS, {"items": [ANVILS, GLUE]}).status_code == 201


def test_a_passing_failure_is_tried_again_and_leaves_one_order(
    world: World, mongo: MongoClient[dict[str, Any]]
) -> None:
    owner = world.tenant("Acme")
    label = ["TransientTransactionError"]
    db = world.db_of(owner.tenant_id)
    passing = {"errorCode": 251, "errorLabels": label, "namespace": f"{db.name}.orderItems"}
    with failing(mongo, {"times": 1}, "insert", **passing):
        assert owner.post(ORDERS, {"items": [ANVILS, GLUE]}).status_code == 201
    assert world.recorder.count("insert", "orderItems") == 2
    assert [db[name].count_documents({}) for name in ("orders", "orderItems")] == [1, 2]


def test_a_list_takes_one_query_for_the_items_of_all_orders(world: World) -> None:
    owner = world.tenant("Acme")
    placed = [answer(owner.post(ORDERS, {"items": [ANVILS] * n})) for n in (1, 2, 3)]
    world.recorder.commands.clear()
    assert answer(owner.get(ORDERS))["items"] == placed
    assert world.recorder.count("find", "orders") == 1
    assert world.recorder.count("find", "orderItems") == 1


@pytest.mark.parametrize(
    "price",
    [
        *(1.5, 1, -1, None, {"$numberDecimal": "1.5"}),
        *("-1", "-0.01", "1.505", "1,50", "1.", ".5", "1e3", "", " 1", "+1", "1_000", "1.5\n"),
        *("NaN", "Infinity", "10000000000", "\N{ARABIC-INDIC DIGIT THREE}"),
    ],
)
def test_a_price_that_is_no_decimal_string_is_refused(world: World, price: Any) -> None:
    owner = world.tenant("Acme")
    response = owner.post(ORDERS, {"items": [ANVILS, {**ANVILS, "price": price}]})
    details = refusal(response, 422, "validation_failed")
    # the parser names an operator's key itself
    assert details["incorrectField"].startswith("items.1.price")
    assert answer(owner.get(ORDERS))["items"] == []


@pytest.mark.parametrize(
    ("price", "shown"),
    [("0", "0.00"), ("0.00", "0.00"), ("007.5", "7.50"), ("9999999999.99", "9999999999.99")],
)
def test_a_price_is_shown_with_two_digits_behind_the_point(
    world: World, price: str, shown: str
) -> None:
    item = {"name": "x", "quantity": 1, "price": price}
    placed = answer(world.tenant("Acme").post(ORDERS, {"items": [item]}))
    assert placed["items"][0]["price"] == placed["total"] == shown


def test_the_largest_order_has_an_exact_total(world: World) -> None:
    owner = world.tenant("Acme")
    item = {"name": "x", "quantity": 1_000_000, "price": "9999999999.99"}
    placed = answer(owner.post(ORDERS, {"items": [item] * 100}))
    assert placed["total"] == "999999999999000000.00"
    assert answer(owner.get(f"{ORDERS}/{placed['id']}"))["total"] == "999999999999000000.00"


@pytest.mark.parametrize("quantity", [0, -1, 1.0, "1", 1_000_001, True, None])
def test_a_quantity_that_is_no_positive_integer_is_refused(world: World, quantity: Any) -> None:
    response = world.tenant("Acme").post(ORDERS, {"items": [{**ANVILS, "quantity": quantity}]})
    details = refusal(response, 422, "validation_failed")
    assert details["incorrectField"] == "items.0.quantity"


@pytest.mark.parametrize("count", [0, 101])
def test_an_order_has_1_to_100_items(world: World, count: int) -> None:
    response = world.tenant("Acme").post(ORDERS, {"items": [GLUE] * count})
    assert refusal(response, 422, "validation_failed")["incorrectField"] == "items"
