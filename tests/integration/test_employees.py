"""/api/employees."""

import pytest

from tests.support import World, answer, refusal

EMPLOYEES = "/api/employees"
WILE = {"name": "Wile E.", "email": "Wile@Acme.example", "position": "Tester"}


def test_an_employee_is_added_read_changed_and_deleted(world: World) -> None:
    owner = world.tenant("Acme")

    added = answer(owner.post(EMPLOYEES, WILE))
    assert set(added) == {"id", *WILE, "phone", "createdAt", "updatedAt"}
    assert (added["email"], added["phone"]) == ("wile@acme.example", None)
    employee = f"{EMPLOYEES}/{added['id']}"
    assert answer(owner.get(employee)) == added

    changed = answer(owner.patch(employee, {"phone": "+1 555 0100", "position": None}))
    assert (changed["phone"], changed["position"]) == ("+1 555 0100", None)
    assert (changed["name"], changed["createdAt"]) == (added["name"], added["createdAt"])
    assert answer(owner.get(EMPLOYEES))["items"] == [changed]

    assert answer(owner.delete(employee)) == changed
    refusal(owner.get(employee), 404, "not_found")


def test_an_email_belongs_to_one_employee_in_any_spelling(world: World) -> None:
    owner, other = world.tenant("Acme"), world.tenant("Globex")
    owner.post(EMPLOYEES, WILE)
    second = answer(owner.post(EMPLOYEES, {"name": "Road R.", "email": "road@acme.example"}))

    again = {"name": "X", "email": "WILE@acme.EXAMPLE "}
    details = refusal(owner.post(EMPLOYEES, again), 409, "already_exists")
    assert details["incorrectField"] == "email"
    moved = owner.patch(f"{EMPLOYEES}/{second['id']}", {"email": "wile@acme.example"})
    assert refusal(moved, 409, "already_exists")["incorrectField"] == "email"
    assert other.post(EMPLOYEES, WILE).status_code == 201


@pytest.mark.parametrize("field", ["name", "email"])
def test_what_an_employee_must_have_cannot_be_removed(world: World, field: str) -> None:
    owner = world.tenant("Acme")
    added = answer(owner.post(EMPLOYEES, WILE))
    response = owner.patch(f"{EMPLOYEES}/{added['id']}", {field: None})
    assert refusal(response, 422, "validation_failed")["incorrectField"] == field
    assert answer(owner.get(f"{EMPLOYEES}/{added['id']}")) == added
