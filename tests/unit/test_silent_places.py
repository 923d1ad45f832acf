"""How many may wait for places of which nobody knows whether they answer."""

from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from multitenant.errors import DatabaseUnavailable
from multitenant.tenancy.routing.cluster_concurrency import ClusterConcurrency

LIMIT = 4


class Clock:
    """A clock that stands still."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def places() -> ClusterConcurrency:
    return ClusterConcurrency(LIMIT, lambda _: False, limit_of_silent=LIMIT)


def enter_all(places: ClusterConcurrency, names: list[str]) -> dict[str, int]:
    """How many get in at each place, at the same time."""
    inside: dict[str, int] = dict.fromkeys(names, 0)

    def enter(name: str) -> str | None:
        try:
            places.enter(name)
        except DatabaseUnavailable:
            return None
        return name

    with ThreadPoolExecutor(len(names)) as pool:
        for name in pool.map(enter, names):
            if name is not None:
                inside[name] += 1
    return inside


def test_two_silent_places_take_half_and_others_still_get_in(places: ClusterConcurrency) -> None:
    dead = ["external:a"] * 8 + ["external:b"] * 8
    assert enter_all(places, dead) == {"external:a": LIMIT, "external:b": LIMIT}
    places.enter("external:c")
    places.note_outcome("external:c", answered=True)
    assert enter_all(places, ["external:c"] * 7) == {"external:c": 7}


def test_many_silent_places_leave_a_quarter(places: ClusterConcurrency) -> None:
    inside = enter_all(places, [f"external:{number}" for number in range(4 * LIMIT)])
    assert sum(inside.values()) == 3 * LIMIT


def test_the_first_answer_lets_in_those_who_wait(places: ClusterConcurrency) -> None:
    names = ["blue"] * 3 * LIMIT
    with ThreadPoolExecutor(len(names)) as pool:
        entering: list[Future[float]] = [pool.submit(places.enter, name) for name in names]
        while places.counts().get("blue", 0) < LIMIT:
            pass
        places.note_outcome("blue", answered=True)
        for future in entering:
            future.result()
    assert places.counts() == {"blue": 3 * LIMIT}


def test_who_leaves_makes_room(places: ClusterConcurrency) -> None:
    entered_at = places.enter("blue")
    assert enter_all(places, ["blue"] * 8) == {"blue": LIMIT - 1}
    with pytest.raises(DatabaseUnavailable):
        places.enter("blue")
    places.leave("blue", entered_at)
    places.enter("blue")


def test_what_the_admin_databases_cluster_does_counts_for_nobody(
    places: ClusterConcurrency,
) -> None:
    assert enter_all(places, ["default"] * 20) == {"default": 20}
    assert enter_all(places, ["external:a"] * 3) == {"external:a": 3}
    assert places.counts() == {"default": 20, "external": 3}


class TestSlow:
    """Own servers that answer some operations at once, and others late."""

    SLOW = ("external:a", "external:b", "external:c", "external:d")

    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    @pytest.fixture
    def places(self, clock: Clock) -> ClusterConcurrency:
        return ClusterConcurrency(LIMIT, lambda _: False, clock, limit_of_silent=LIMIT)

    def answer(self, places: ClusterConcurrency, *names: str) -> None:
        for name in names:
            places.note_outcome(name, answered=True)

    def test_they_take_half_while_requests_are_late(
        self, places: ClusterConcurrency, clock: Clock
    ) -> None:
        for name in self.SLOW:
            places.enter(name)
        clock.now += 2
        self.answer(places, *self.SLOW)
        inside = enter_all(places, [name for name in self.SLOW for _ in range(LIMIT)])
        assert sum(inside.values()) + len(self.SLOW) == 2 * LIMIT

    def test_they_are_remembered(self, places: ClusterConcurrency, clock: Clock) -> None:
        entered_at = places.enter("external:a")
        clock.now += 2
        places.leave("external:a", entered_at)
        clock.now += 4
        self.answer(places, "external:a")
        assert enter_all(places, ["external:a"] * 8) == {"external:a": LIMIT}

    def test_and_forgiven(self, places: ClusterConcurrency, clock: Clock) -> None:
        entered_at = places.enter("external:a")
        clock.now += 2
        places.leave("external:a", entered_at)
        clock.now += 6
        self.answer(places, "external:a")
        assert enter_all(places, ["external:a"] * 8) == {"external:a": 8}

    def test_a_cluster_of_many_tenants_is_not_limited_for_one_late_request(
        self, places: ClusterConcurrency, clock: Clock
    ) -> None:
        places.enter("blue")
        clock.now += 2
        self.answer(places, "blue")
        assert enter_all(places, ["blue"] * 8) == {"blue": 8}
