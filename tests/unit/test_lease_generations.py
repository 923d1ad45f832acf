"""When the last lease of a tenant that began before some moment has ended."""

import threading

import pytest
from bson import ObjectId

from multitenant.tenancy.routing.lease_generations import LeaseGenerations

ACME, GLOBEX = ObjectId(), ObjectId()


@pytest.fixture
def leases() -> LeaseGenerations:
    return LeaseGenerations()


def test_without_leases_nothing_is_to_be_waited_for(leases: LeaseGenerations) -> None:
    assert leases.next(ACME) == []
    leases.leave(leases.enter(ACME))
    assert leases.next(ACME) == []
    assert leases.await_end([], 0)


def test_leases_between_two_moments_are_one_generation(leases: LeaseGenerations) -> None:
    first, second = leases.enter(ACME), leases.enter(ACME)
    assert first is second
    assert (first.tenant_id, first.leases) == (ACME, 2)
    leases.leave(first)
    assert first.leases == 1
    assert leases.enter(ACME) is first


def test_a_generation_that_has_ended_takes_no_more(leases: LeaseGenerations) -> None:
    first = leases.enter(ACME)
    leases.leave(first)
    again = leases.enter(ACME)
    assert again is not first
    assert (again.leases, first.leases) == (1, 0)


def test_what_begins_later_is_not_waited_for(leases: LeaseGenerations) -> None:
    before = leases.enter(ACME)
    waited_for = leases.next(ACME)
    assert waited_for == [before]
    after = leases.enter(ACME)
    assert after is not before
    assert not leases.await_end(waited_for, 0)
    leases.leave(before)
    assert leases.await_end(waited_for, 0)
    assert leases.next(ACME) == [after]


def test_a_generation_is_waited_for_until_it_ends_however_many_follow(
    leases: LeaseGenerations,
) -> None:
    oldest = leases.enter(ACME)
    leases.next(ACME)
    older = leases.enter(ACME)
    assert leases.next(ACME) == [oldest, older]
    leases.leave(oldest)
    assert not leases.await_end([oldest, older], 0)
    assert leases.next(ACME) == [older]
    leases.leave(older)
    assert leases.next(ACME) == []


def test_another_tenants_leases_are_not_waited_for(leases: LeaseGenerations) -> None:
    other = leases.enter(GLOBEX)
    assert leases.next(ACME) == []
    leases.next(GLOBEX)
    assert leases.next(ACME) == []
    assert leases.next(GLOBEX) == [other]


def test_whoever_waits_hears_of_the_last_end(leases: LeaseGenerations) -> None:
    before = [leases.enter(ACME), leases.enter(ACME)]
    waited_for = leases.next(ACME)
    ended = []
    waiting = threading.Thread(target=lambda: ended.append(leases.await_end(waited_for, 30)))
    waiting.start()
    leases.leave(before[0])
    waiting.join(timeout=0.05)
    assert waiting.is_alive()
    leases.leave(before[1])
    waiting.join(timeout=10)
    assert ended == [True]
