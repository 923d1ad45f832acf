"""/api/settings: any JSON under a key."""

import json
from typing import Any

import orjson
import pytest

from tests.support import World, answer, refusal

SETTINGS = "/api/settings"
VALUES: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    2**53 + 1,
    2**63 - 1,
    -(2**63),
    1.5,
    1.0,
    -0.0,
    0.1,
    5e-324,
    1.7976931348623157e308,
    "",
    " text \n\u202e 日本 ",
    [],
    {},
    [None, [1, {"a": []}], 1.25],
    {"z": 1, "a": {"": None, "_cls": "UserDocument", "_id": 1, "b": [True]}},
    {"_cls": "TodoDocument"},
    {"oid": "6b01495c11c99b6e947f21d9"},
    "2030-01-31T12:00:00Z",
    {"0": "a", "1": "b"},
]


@pytest.mark.parametrize("value", VALUES, ids=json.dumps)
def test_what_comes_in_comes_out(world: World, value: Any) -> None:
    owner = world.tenant("Acme")
    body = orjson.dumps({"value": value})  # Flask's client would sort the keys
    headers = {"Content-Type": "application/json"}
    saved = owner.put(f"{SETTINGS}/theme", None, data=body, headers=headers)
    read = owner.get(f"{SETTINGS}/theme")
    for response in (saved, read):
        assert response.status_code == 200, response.text
        # as text, in which 1, 1.0 and true are different, and keys have an order
        shown = orjson.loads(response.data)["responseObject"]["value"]
        assert orjson.dumps(shown) == orjson.dumps(value)


def test_a_setting_is_saved_replaced_listed_and_deleted(world: World) -> None:
    owner = world.tenant("Acme")
    first = answer(owner.put(f"{SETTINGS}/a.b:c_d-1", {"value": {"x": 1, "y": 2}}))
    assert set(first) == {"key", "value", "createdAt", "updatedAt"}
    second = answer(owner.put(f"{SETTINGS}/B", {"value": 2}))
    replaced = answer(owner.put(f"{SETTINGS}/a.b:c_d-1", {"value": {"z": None}}))
    assert (replaced["value"], replaced["createdAt"]) == ({"z": None}, first["createdAt"])
    assert answer(owner.get(SETTINGS))["items"] == [replaced, second]
    assert answer(owner.get(f"{SETTINGS}?limit=1"))["items"] == [replaced]

    assert answer(owner.delete(f"{SETTINGS}/B")) == second
    refusal(owner.get(f"{SETTINGS}/B"), 404, "not_found")
    refusal(owner.delete(f"{SETTINGS}/B"), 404, "not_found")
    refusal(owner.get(f"{SETTINGS}/b"), 404, "not_found")


def test_everybody_reads_settings_and_owners_and_admins_write_them(world: World) -> None:
    owner = world.tenant("Acme")
    admin, member = world.colleague(owner, "admin"), world.colleague(owner, "member")
    path = f"{SETTINGS}/theme"
    assert admin.put(path, {"value": 1}).status_code == 200
    assert answer(member.get(path))["value"] == 1
    assert len(answer(member.get(SETTINGS))["items"]) == 1
    refusal(member.put(path, {"value": 2}), 403, "role_required")
    refusal(member.delete(path), 403, "role_required")
    assert answer(owner.delete(path))["value"] == 1


@pytest.mark.parametrize(
    "key", ["x" * 101, ".hidden", "-x", "a b", "a$b", "é", "%00", "a%0a", "%20"]
)
def test_a_key_of_other_characters_is_refused(world: World, key: str) -> None:
    owner = world.tenant("Acme")
    for method, body in (("GET", None), ("PUT", {"value": 1}), ("DELETE", None)):
        response = owner.send(method, f"{SETTINGS}/{key}", body)
        assert refusal(response, 422, "validation_failed")["incorrectField"] == "key"
    assert answer(owner.get(SETTINGS))["items"] == []


def test_a_value_has_64_kib_of_json_at_the_most(world: World) -> None:
    owner = world.tenant("Acme")
    assert owner.put(f"{SETTINGS}/a", {"value": "x" * (65_536 - 2)}).status_code == 200
    for value in ("x" * 65_535, [0] * 40_000):
        response = owner.put(f"{SETTINGS}/b", {"value": value})
        assert refusal(response, 422, "validation_failed")["incorrectField"] == "value"
    refusal(owner.get(f"{SETTINGS}/b"), 404, "not_found")


def test_a_value_is_nested_31_levels_deep_at_the_most(world: World) -> None:
    owner = world.tenant("Acme")
    value: Any = 1
    for _ in range(30):
        value = [value]
    assert answer(owner.put(f"{SETTINGS}/a", {"value": value}))["value"] == value
    refusal(owner.put(f"{SETTINGS}/a", {"value": [value]}), 400, "malformed_json")


def test_of_simultaneous_first_writes_one_setting_remains(world: World, run_together: Any) -> None:
    owner = world.tenant("Acme")
    writes = [lambda n=n: owner.put(f"{SETTINGS}/a", {"value": n}) for n in range(8)]
    assert {response.status_code for response in run_together(writes)} == {200}
    assert len(answer(owner.get(SETTINGS))["items"]) == 1
