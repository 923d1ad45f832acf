"""Sharing workers between the tenants that wait for one."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from multitenant.errors import DatabaseUnavailable, DomainError, RateLimited
from multitenant.security.fair_queue import FairQueue
from tests.support import eventually


class Crowd:
    """Callers in threads of their own, who note in which order they were served."""

    def __init__(self, *, parallel: int, places: int, seconds: float = 30) -> None:
        semaphore = threading.BoundedSemaphore(places)
        self.queue = FairQueue(parallel=parallel, places=semaphore, seconds=seconds)
        self.served: list[str] = []
        self.refused: list[tuple[str, type[DomainError]]] = []
        self.threads: list[threading.Thread] = []

    def comes(self, group: str) -> None:
        """A caller of that group comes, and stands in line when this returns."""
        before = self._waiting() + len(self.refused)
        thread = threading.Thread(target=self._call, args=(group,))
        self.threads.append(thread)
        thread.start()
        eventually(lambda: self._waiting() + len(self.refused) > before or not thread.is_alive())

    def _call(self, group: str) -> None:
        try:
            with self.queue.turn(group):
                self.served.append(group)
        except DomainError as error:
            self.refused.append((group, type(error)))

    def _waiting(self) -> int:
        return sum(len(line) for line in list(self.queue._waiting.values()))


@contextmanager
def busy(crowd: Crowd) -> Iterator[None]:
    """Hold the only worker, and let everybody be served at the end."""
    with crowd.queue.turn("whoever holds it"):
        yield
    for thread in crowd.threads:
        thread.join(10)


def test_a_tenant_that_asks_often_delays_another_one_by_one_turn() -> None:
    crowd = Crowd(parallel=1, places=20)
    with busy(crowd):
        for _ in range(5):
            crowd.comes("loud")
        for _ in range(2):
            crowd.comes("quiet")
    assert crowd.served == ["loud", "quiet", "loud", "quiet", "loud", "loud", "loud"]


def test_when_no_place_is_left_the_largest_group_makes_room() -> None:
    crowd = Crowd(parallel=1, places=4)
    with busy(crowd):
        for _ in range(3):
            crowd.comes("loud")
        crowd.comes("loud")
        assert crowd.refused == [("loud", RateLimited)], "it is itself the largest"
        crowd.comes("quiet")
        eventually(lambda: len(crowd.refused) == 2)
        crowd.comes("another")
        eventually(lambda: len(crowd.refused) == 3)
        with pytest.raises(RateLimited), crowd.queue.turn("one too many"):
            pass
    assert crowd.served == ["loud", "quiet", "another"]
    assert [group for group, _ in crowd.refused] == ["loud"] * 3
    with crowd.queue.turn("anybody"):
        pass
    assert crowd.queue._places._value == 4, "places are given back"


def test_whose_turn_does_not_come_in_time_is_told_when_to_ask_again() -> None:
    crowd = Crowd(parallel=1, places=2, seconds=0.01)
    with (
        crowd.queue.turn("whoever holds it"),
        pytest.raises(DatabaseUnavailable) as caught,
        crowd.queue.turn("late"),
    ):
        pass
    assert caught.value.retry_after
    with crowd.queue.turn("later"):
        pass
    assert crowd.queue._places._value == 2
