"""How a process tells the others that it lives, and answers them; and how they ask. The admin
database and the time are ours."""

import logging
import os
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from bson import ObjectId
from pymongo.errors import AutoReconnect

from multitenant.clock import CLOCK
from multitenant.errors import DatabaseUnavailable
from multitenant.tenancy.routing import presence
from multitenant.tenancy.routing.handshakes import shake_hands
from multitenant.tenancy.routing.lease_generations import LeaseGenerations
from multitenant.tenancy.routing.presence import Presence

ACME, HANDSHAKE = ObjectId(), ObjectId()
DB: Any = "the admin database"
TOLD = datetime(2030, 1, 1, tzinfo=UTC)


class Registry:
    """One process, and what it writes to the admin database."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.pid = 1
        self.did: list[tuple[Any, ...]] = []
        self.fails: Exception | None = None
        self.on_note: Callable[[], None] = lambda: None
        self.leases = LeaseGenerations()
        self.watched = 0
        self.presence = Presence(lambda: DB, self.leases, self._watch)
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(os, "getpid", lambda: self.pid)
        repository = "multitenant.repositories.admin.handshakes"
        monkeypatch.setattr(f"{repository}.note_process", self._note)
        monkeypatch.setattr(f"{repository}.remove_process", self._writer("removed"))
        monkeypatch.setattr(f"{repository}.answer_handshake", self._writer("answered"))
        monkeypatch.setattr(CLOCK, "hear", lambda *heard: self.did.append(("clock", *heard)))

    def _watch(self) -> None:
        self.watched += 1

    def _note(self, db: Any, process: str) -> datetime:
        self.did.append(("noted", db, process))
        self.now += 0.5
        self.on_note()
        if self.fails:
            raise self.fails
        return TOLD

    def _writer(self, what: str) -> Callable[..., None]:
        def write(*arguments: Any) -> None:
            if self.fails:
                raise self.fails
            self.did.append((what, *arguments))

        return write

    def noted(self) -> list[str]:
        """The names under which it was noted, one for each time."""
        return [done[2] for done in self.did if done[0] == "noted"]


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    return Registry(monkeypatch)


class TestTelling:
    def test_it_is_told_before_the_first_lease_and_then_looked_after(
        self, registry: Registry
    ) -> None:
        registry.presence.ensure()
        (name,) = registry.noted()
        assert len(name) == 32
        assert registry.did == [("noted", DB, name), ("clock", TOLD, 1000.0, 1000.5)]
        assert registry.watched == 1
        registry.presence.ensure()
        assert registry.noted() == [name]
        assert registry.watched == 1

    def test_the_next_lease_tells_it_again_where_that_was_long_ago(
        self, registry: Registry
    ) -> None:
        registry.presence.ensure()
        registry.now = 1020.0
        registry.presence.ensure()
        assert (len(registry.noted()), registry.watched) == (1, 1)
        registry.now = 1020.1
        registry.presence.ensure()
        assert len(registry.noted()) == 2
        assert len(set(registry.noted())) == 1, "it keeps its name"

    def test_in_the_background_it_is_told_every_ten_seconds_once_it_was(
        self, registry: Registry
    ) -> None:
        registry.presence.beat()
        assert registry.noted() == []
        registry.presence.ensure()
        for now, times in ((1010.0, 1), (1010.1, 2), (1020.1, 2), (1020.2, 3)):
            registry.now = now
            registry.presence.beat()
            assert len(registry.noted()) == times

    def test_a_forked_process_is_another_one(self, registry: Registry) -> None:
        registry.presence.ensure()
        registry.pid = 2
        registry.presence.ensure()
        assert len(set(registry.noted())) == 2
        assert registry.watched == 2

    def test_what_fails_is_tried_again_by_the_next(self, registry: Registry) -> None:
        registry.fails = AutoReconnect()
        for _ in range(2):
            with pytest.raises(AutoReconnect):
                registry.presence.ensure()
            registry.now += 0.1
        assert registry.watched == 0
        registry.fails = None
        registry.presence.ensure()
        assert len(registry.noted()) == 3
        assert registry.watched == 1

    @pytest.mark.parametrize("fails", [True, False])
    def test_who_waited_for_somebody_elses_attempt_does_not_make_another(
        self, registry: Registry, fails: bool
    ) -> None:
        refused: list[type[BaseException]] = []

        def ensure() -> None:
            try:
                registry.presence.ensure()
            except DatabaseUnavailable as error:
                refused.append(type(error))

        waiting = threading.Thread(target=ensure)
        lock = registry.presence._lock
        asking = threading.Event()

        class SeenLock:
            """The lock, and whether somebody asks for it."""

            def __enter__(self) -> None:
                if threading.current_thread() is waiting:
                    asking.set()
                lock.acquire()

            def __exit__(self, *_: object) -> None:
                lock.release()

        def let_somebody_wait() -> None:
            registry.on_note = lambda: None
            registry.now = 1001.0
            waiting.start()
            assert asking.wait(20)
            registry.now = 1001.0

        registry.presence._lock = SeenLock()  # type: ignore[assignment]
        registry.on_note = let_somebody_wait
        registry.fails = AutoReconnect() if fails else None
        if fails:
            with pytest.raises(AutoReconnect):
                registry.presence.ensure()
        else:
            registry.presence.ensure()
        waiting.join(20)
        assert len(registry.noted()) == 1
        assert refused == ([DatabaseUnavailable] if fails else [])


class TestLeaving:
    def test_it_is_told_once_and_only_by_who_was_noted(self, registry: Registry) -> None:
        registry.presence.leave()
        assert registry.did == []
        registry.presence.ensure()
        registry.pid = 2
        registry.presence.leave()
        registry.pid = 1
        assert len(registry.did) == 2
        registry.presence.leave()
        registry.presence.leave()
        assert registry.did[2:] == [("removed", DB, *registry.noted())]

    def test_whoever_has_left_tells_and_answers_nothing_more(self, registry: Registry) -> None:
        registry.presence.ensure()
        registry.presence.leave()
        before = list(registry.did)
        registry.now += 100
        registry.presence.beat()
        registry.presence.answer(HANDSHAKE, ACME, lambda _: pytest.fail("nobody waits"))
        assert registry.did == before

    @pytest.mark.parametrize("error", [AutoReconnect(), DatabaseUnavailable()])
    def test_it_ends_also_when_it_cannot_say_so(
        self, registry: Registry, error: Exception, caplog: pytest.LogCaptureFixture
    ) -> None:
        registry.presence.ensure()
        registry.fails = error
        registry.presence.leave()
        assert [record.levelno for record in caplog.records] == [logging.WARNING]


def join_answering() -> None:
    """Wait for those who answer."""
    for thread in threading.enumerate():
        if thread.name == "tenant-handshake":
            thread.join(20)


class TestAnswering:
    def test_without_leases_it_answers_at_once_and_reads_the_record_anew(
        self, registry: Registry
    ) -> None:
        registry.presence.ensure()
        forgotten: list[ObjectId] = []
        registry.presence.answer(HANDSHAKE, ACME, forgotten.append)
        join_answering()
        assert forgotten == [ACME]
        assert registry.did[2:] == [("answered", DB, HANDSHAKE, *registry.noted())]

    def test_who_was_never_noted_or_was_forked_does_not_answer(self, registry: Registry) -> None:
        registry.presence.answer(HANDSHAKE, ACME, lambda _: pytest.fail("nobody waits"))
        registry.presence.ensure()
        registry.pid = 2
        registry.presence.answer(HANDSHAKE, ACME, lambda _: pytest.fail("nobody waits"))
        assert len(registry.did) == 2

    def test_it_answers_when_the_leases_from_before_have_ended(self, registry: Registry) -> None:
        registry.presence.ensure()
        before = registry.leases.enter(ACME)
        threads = set(threading.enumerate())
        registry.presence.answer(HANDSHAKE, ACME, lambda _: None)
        (answering,) = set(threading.enumerate()) - threads
        assert (answering.name, answering.daemon) == ("tenant-handshake", True)
        after = registry.leases.enter(ACME)
        answering.join(0.05)
        assert len(registry.did) == 2
        registry.leases.leave(before)
        answering.join(20)
        assert registry.did[2:] == [("answered", DB, HANDSHAKE, *registry.noted())]
        registry.leases.leave(after)

    def test_it_does_not_answer_for_a_lease_that_does_not_end(
        self, registry: Registry, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(presence, "ANSWER_SECONDS", 0.0)
        registry.presence.ensure()
        before = registry.leases.enter(ACME)
        registry.presence.answer(HANDSHAKE, ACME, lambda _: None)
        join_answering()
        assert len(registry.did) == 2
        registry.leases.leave(before)

    @pytest.mark.parametrize(
        ("error", "text"),
        [
            (AutoReconnect(), "AutoReconnect"),
            (DatabaseUnavailable("The database does not answer"), "The database does not answer"),
            (KeyError("a bug"), "KeyError: 'a bug'"),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_an_answer_that_cannot_be_given_is_left_out(
        self, registry: Registry, error: Exception, text: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        registry.presence.ensure()
        registry.fails = error
        registry.presence.answer(HANDSHAKE, ACME, lambda _: None)
        join_answering()
        assert "An answer could not be given" in caplog.text
        assert text in caplog.text


class Others:
    """The other processes, as the admin database has them at each look."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.living: list[set[str]] = [set()]
        self.answers: list[set[str]] = [set()]
        """At each look; the last stays."""
        self.now = 50.0
        self.slept: list[float] = []
        self.calls: list[Any] = []
        repository = "multitenant.repositories.admin.handshakes"
        monkeypatch.setattr(f"{repository}.insert_handshake", self._insert)
        monkeypatch.setattr(f"{repository}.list_processes", self._list)
        monkeypatch.setattr(f"{repository}.list_answers", self._answers)
        monkeypatch.setattr(f"{repository}.delete_handshake", self._delete)
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(time, "sleep", self._sleep)

    def ask(self, seconds: float = 10) -> bool:
        return shake_hands(DB, ACME, seconds=seconds)

    def _insert(self, *arguments: Any) -> ObjectId:
        self.calls.append(("asked", *arguments))
        return HANDSHAKE

    def _list(self, db: Any, *, seconds: float) -> set[str]:
        assert (db, seconds) == (DB, 45.0)
        return self.living.pop(0) if len(self.living) > 1 else self.living[0]

    def _answers(self, *arguments: Any) -> set[str]:
        assert arguments == (DB, HANDSHAKE)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def _delete(self, *arguments: Any) -> None:
        self.calls.append(("ended", *arguments))

    def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        assert len(self.slept) < 100, "it does not end"
        self.now += 1


@pytest.fixture
def others(monkeypatch: pytest.MonkeyPatch) -> Others:
    return Others(monkeypatch)


class TestAsking:
    def test_nobody_is_waited_for_where_nobody_is(self, others: Others) -> None:
        assert others.ask() is True
        assert others.slept == []
        assert others.calls == [("asked", DB, ACME), ("ended", DB, HANDSHAKE)]

    def test_all_are_waited_for(self, others: Others) -> None:
        others.living = [{"a", "b"}]
        others.answers = [set(), {"a"}, {"a", "b"}]
        assert others.ask() is True
        assert others.slept == [0.005, 0.01]

    def test_who_comes_later_need_not_answer_nor_who_ends_meanwhile(self, others: Others) -> None:
        others.living = [{"a", "b"}, {"b", "later"}, {"later"}]
        assert others.ask() is True
        assert len(others.slept) == 2

    def test_who_has_answered_is_not_asked_again(self, others: Others) -> None:
        others.living = [{"a", "b"}]
        others.answers = [{"a"}, {"b"}]
        assert others.ask() is True

    def test_it_ends_in_time_and_asks_no_more(self, others: Others) -> None:
        others.living = [{"a"}]
        assert others.ask(seconds=3) is False
        assert len(others.slept) == 4
        assert others.calls[-1] == ("ended", DB, HANDSHAKE)

    def test_those_who_wait_long_look_ever_more_seldom(
        self, others: Others, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """There may be a thousand to be waited for, and each look reads what all have answered."""
        others.living = [{"a"}]

        def sleep(seconds: float) -> None:
            others.slept.append(seconds)
            others.now += seconds

        monkeypatch.setattr(time, "sleep", sleep)
        assert others.ask(seconds=5) is False
        assert others.slept[0] == 0.005
        assert len(others.slept) < 60
