"""A lease: what happens when it is given back, and waiting for the database's connections."""

from typing import Any, cast

import pytest

from multitenant.errors import DatabaseUnavailable
from multitenant.tenancy.deployments.waiting_line import WaitingLine
from multitenant.tenancy.routing.leases import Entry, Lease
from multitenant.tenancy.routing.placement import Connection


class Holder:
    """An OpenedClient, or a Hold, without a server."""

    def __init__(self, places: int) -> None:
        self.line = WaitingLine(places, seconds=0.01)


def lease(given_back: list[Any] | None = None, **connection: Any) -> Lease:
    tenant: Any = "acme"
    entry = Entry(tenant, Connection(cast(Any, "database"), **connection), 0, 0, 0)
    return Lease(entry, tenant, ([] if given_back is None else given_back).append)


def test_the_handlers_are_called_once_last_named_first() -> None:
    done: list[Any] = []
    with lease(done) as held:
        entry = held._entry
        held.on_release(lambda: done.append(1))
        held.on_release(lambda: done.append(2))
    held.release()
    assert done == [entry, 2, 1]


def test_the_handlers_are_called_also_where_giving_back_fails() -> None:
    done: list[int] = []

    def fail(_: Entry) -> None:
        raise ZeroDivisionError

    held = lease()
    held._give_back = fail
    held.on_release(lambda: done.append(1))
    with pytest.raises(ZeroDivisionError):
        held.release()
    assert done == [1]


def test_once_given_back_it_leads_nowhere() -> None:
    held = lease()
    assert held.database == cast(Any, "database")
    held.release()
    with pytest.raises(RuntimeError, match="given back"):
        _ = held.database
    held.wait_in_line()  # for nothing


@pytest.mark.parametrize("whose", ["own", "hold"])
def test_a_place_in_the_line_ends_with_the_lease(whose: str) -> None:
    holder = Holder(places=1)
    connection: dict[str, Any] = {whose: holder}
    first, second = lease(None, **connection), lease(None, **connection)
    first.wait_in_line()
    with pytest.raises(DatabaseUnavailable):
        second.wait_in_line()
    first.release()
    second.wait_in_line()
    second.release()
    assert holder.line._free == 1


def test_where_there_is_no_line_nobody_waits() -> None:
    held = lease()
    held.wait_in_line()
    held.release()
