"""Waiting for a connection: in order, for a bounded time, without losing places."""

import threading
import time

import pytest

from multitenant.errors import DatabaseUnavailable
from multitenant.tenancy.deployments.waiting_line import WaitingLine
from tests.support import eventually


def test_whoever_came_first_is_first_also_before_those_who_come_at_the_right_moment() -> None:
    line = WaitingLine(1, seconds=20)
    line.enter()
    order: list[int] = []

    def come(number: int) -> None:
        line.enter()
        order.append(number)

    threads = []
    for number in range(5):
        threads.append(threading.Thread(target=come, args=(number,)))
        threads[-1].start()
        eventually(lambda: len(line._waiting) == len(threads))

    for number in range(5):
        line.leave()
        late = threading.Thread(target=come, args=(5 + number,))
        late.start()
        threads.append(late)
        eventually(lambda: len(order) == number + 1)  # noqa: B023  # at once
    for _ in range(5):
        line.leave()
    for thread in threads:
        thread.join()

    assert order[:5] == [0, 1, 2, 3, 4]
    assert sorted(order) == list(range(10))


def test_nobody_waits_for_longer_than_the_time_and_no_place_is_lost() -> None:
    line = WaitingLine(2, seconds=0.01)
    line.enter()
    line.enter()
    with pytest.raises(DatabaseUnavailable):
        line.enter()
    line.leave()
    line.enter()
    with pytest.raises(DatabaseUnavailable):
        line.enter()


def test_a_place_that_is_given_to_one_who_has_just_given_up_goes_to_the_next() -> None:
    line = WaitingLine(1, seconds=0.01)
    line.enter()
    give_up = line._give_up

    def given_meanwhile(place: threading.Lock) -> None:
        line.leave()
        give_up(place)

    line._give_up = given_meanwhile  # type: ignore[method-assign]
    with pytest.raises(DatabaseUnavailable):
        line.enter()
    assert line._free == 1


def test_never_more_are_in_than_there_are_places() -> None:
    line = WaitingLine(3, seconds=20)
    lock = threading.Lock()
    inside = most = 0

    def come_and_go() -> None:
        nonlocal inside, most
        for _ in range(50):
            line.enter()
            with lock:
                inside += 1
                most = max(most, inside)
            time.sleep(0)
            with lock:
                inside -= 1
            line.leave()

    threads = [threading.Thread(target=come_and_go) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (most, inside, line._free, len(line._waiting)) == (3, 0, 3, 0)
