"""Following the change stream: who is told what, what it vouches for, what it survives. The stream
and the time are ours."""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest
from bson import ObjectId
from pymongo.errors import AutoReconnect, ExecutionTimeout, OperationFailure

from multitenant.errors import DatabaseUnavailable
from multitenant.repositories.admin.changes import PIPELINE
from multitenant.tenancy.routing import watcher as module
from multitenant.tenancy.routing.watcher import Watcher

TENANT, HANDSHAKE = ObjectId(), ObjectId()


REAL_TIME = time.monotonic


def wait_until(happened: Callable[[], object]) -> None:
    deadline = REAL_TIME() + 20
    while not happened():
        assert REAL_TIME() < deadline
        time.sleep(0.001)


def change(collection: str, key: Any, **fields: Any) -> dict[str, Any]:
    return {"ns": {"coll": collection}, "documentKey": {"_id": key}, **fields}


def heartbeat(
    *, seconds_ago: float = 0.0, operation: str = "update", writer: str | None = "another"
) -> dict[str, Any]:
    """One as the change stream shows it; the clock of these tests reads its time (see _quick)."""
    told: dict[str, Any] = {"beats": 1} if writer is None else {"beats": 1, "writer": writer}
    fields: dict[str, Any] = {
        "update": {"updateDescription": {"updatedFields": told}},
        "insert": {"fullDocument": told},
        "delete": {},
    }[operation]
    return change(
        "heartbeats", "heartbeat", operationType=operation, wallTime=seconds_ago, **fields
    )


class Stream:
    """An admin database whose change stream says what is put here."""

    def __init__(self) -> None:
        self.changes: list[Any] = []
        """The next answers, a change, an error, or None where nothing has changed; then heartbeats,
        or None."""
        self.beats = True
        self.opened: list[tuple[Any, dict[str, Any]]] = []
        self.closed = 0
        self.asked = 0
        self.answering = threading.Event()
        self.answering.set()
        self.waiting = threading.Event()
        """Set once it was asked and does not answer."""
        self.fails: Exception | None = None
        self.alive = True
        self.resume_token: Any = None
        self.cursor = object()
        self.resumes = False
        """Whether the driver resumes it by itself, the next time that it is asked."""

    def watch(self, pipeline: Any, **options: Any) -> Any:
        self.opened.append((pipeline, options))
        if self.fails:
            raise self.fails
        return self._following()

    @contextmanager
    def _following(self) -> Iterator["Stream"]:
        try:
            yield self
        finally:
            self.closed += 1

    def try_next(self) -> Any:
        self.asked += 1
        if not self.answering.is_set():
            self.waiting.set()
        if not self.answering.wait(20):
            raise AssertionError
        if self.resumes:
            self.cursor, self.resumes = object(), False
        otherwise = heartbeat() if self.beats else None
        told = self.changes.pop(0) if self.changes else otherwise
        if isinstance(told, Exception):
            raise told
        time.sleep(0.001)
        return told


class Heard(list[Any]):
    """What a watcher's handlers were called with."""

    def handler(self, name: str) -> Callable[..., None]:
        return lambda *arguments: self.append((name, *arguments))


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(module, "HOUSEKEEPING_SECONDS", 0.001)
    monkeypatch.setattr(module, "ANSWERS_PER_SECOND", 10_000.0)
    monkeypatch.setattr(module, "has_more", lambda _: False)
    monkeypatch.setattr(module, "cursor_of", lambda stream: stream.cursor)
    monkeypatch.setattr(module, "CLOCK", SimpleNamespace(since=lambda told: told))


class AdminServer:
    """What is written to, and read from, the server of the admin database for heartbeats."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, stream: Stream) -> None:
        self.stream = stream
        self.writer: str | None = "another"
        """Who writes the heartbeat; None is whoever asks."""
        self.claims: list[str] = []
        self.written: list[tuple[str, str]] = []
        self.proofs = 0
        self.proves: Exception | None = None
        repository = "multitenant.repositories.admin.heartbeats"
        monkeypatch.setattr(f"{repository}.claim_heartbeat", self._claim)
        monkeypatch.setattr(f"{repository}.write_heartbeat", self._write)
        proof = "multitenant.tenancy.routing.primary_proof.prove_primary"
        monkeypatch.setattr(proof, self._prove)

    def _claim(self, db: Any, process: str) -> str:
        assert db is self.stream
        self.claims.append(process)
        return self.writer or process

    def _write(self, db: Any, process: str, *, instead_of: str) -> bool:
        assert db is self.stream
        self.written.append((process, instead_of))
        return True

    def _prove(self, db: Any) -> None:
        assert db is self.stream
        self.proofs += 1
        if self.proves:
            raise self.proves


@pytest.fixture
def stream() -> Stream:
    return Stream()


@pytest.fixture(autouse=True)
def server(monkeypatch: pytest.MonkeyPatch, stream: Stream) -> AdminServer:
    return AdminServer(monkeypatch, stream)


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def watcher(stream: Stream, heard: Heard) -> Iterator[Watcher]:
    watcher = Watcher(lambda: cast(Any, stream), stale_seconds=60)
    watcher.on_tenant_change(heard.handler("tenant"))
    watcher.on_cluster_change(heard.handler("cluster"))
    watcher.on_handshake(heard.handler("handshake"))
    watcher.on_revocation(heard.handler("revocation"))
    watcher.on_gap(heard.handler("gap"))
    yield watcher
    stream.answering.set()
    watcher.stop()


def follow(watcher: Watcher, stream: Stream) -> None:
    """Let it hear all that is there."""
    watcher.ensure_running()
    wait_until(lambda: not stream.changes)
    asked = stream.asked
    wait_until(lambda: stream.asked > asked + 1)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (change("tenants", TENANT), ("tenant", TENANT)),
        (change("clusters", "blue"), ("cluster", "blue")),
        (
            change("handshakes", HANDSHAKE, fullDocument={"tenantId": TENANT}),
            ("handshake", HANDSHAKE, TENANT),
        ),
        (change("revocations", "family"), ("revocation", "family")),
    ],
)
def test_each_change_is_told_to_those_who_care(
    watcher: Watcher, stream: Stream, heard: Heard, told: Any, expected: Any
) -> None:
    stream.changes = [told]
    follow(watcher, stream)
    assert heard == [("gap",), expected]


@pytest.mark.parametrize(
    "told",
    [
        {"operationType": "invalidate"},
        {"ns": {"coll": "tenants"}, "operationType": "drop"},
        change("tenants", "no id"),
        change("clusters", ObjectId()),
        change("handshakes", None),
        change("revocations", ObjectId()),
        change("others", ObjectId()),
        change("others", "key"),
        change("heartbeats", None),
        {"ns": {"coll": "heartbeats"}, "operationType": "drop"},
    ],
)
def test_a_change_of_more_than_a_record_leaves_nothing_certain(
    watcher: Watcher, stream: Stream, heard: Heard, told: Any
) -> None:
    stream.changes = [told]
    follow(watcher, stream)
    assert heard == [("gap",), ("gap",)]
    assert len(stream.opened) == 1


def test_it_asks_for_what_the_caches_know_and_nothing_else(
    watcher: Watcher, stream: Stream
) -> None:
    follow(watcher, stream)
    options = {"max_await_time_ms": 500, "batch_size": 100, "resume_after": None}
    assert stream.opened == [(PIPELINE, options)]
    ((match,),) = [stage.values() for stage in PIPELINE]
    known = {"tenants", "revocations", "clusters", "handshakes"}
    assert set(match["ns.coll"]["$in"]) == known | {"heartbeats"}


@pytest.mark.parametrize(
    ("stale_seconds", "await_ms"),
    [(60, 500), (1, 500), (0.8, 400), (0.4, 200), (0.1, 50), (0.01, 20), (0, 500)],
)
def test_it_hears_of_the_end_of_a_stream_before_what_is_known_is_stale(
    stream: Stream, stale_seconds: float, await_ms: int
) -> None:
    watcher = Watcher(lambda: cast(Any, stream), stale_seconds=stale_seconds)
    watcher.ensure_running()
    wait_until(lambda: stream.opened)
    watcher.stop()
    assert stream.opened[0][1]["max_await_time_ms"] == await_ms
    assert watcher._heartbeat._every == watcher._proof._good_for == await_ms / 2000


class TestVouching:
    def test_nothing_is_vouched_for_before_the_stream_is_open(
        self, watcher: Watcher, stream: Stream
    ) -> None:
        assert not watcher.vouches_for(time.monotonic())
        wait_until(lambda: watcher.vouches_for(time.monotonic()))
        assert len(stream.opened) == 1

    def test_what_is_from_before_the_stream_is_not_vouched_for(
        self, watcher: Watcher, stream: Stream
    ) -> None:
        before = time.monotonic()
        follow(watcher, stream)
        covered_since = watcher._covered_since
        assert covered_since is not None
        assert before <= covered_since
        assert not watcher.vouches_for(before)
        assert watcher.vouches_for(covered_since)

    def test_a_gap_ends_what_was_vouched_for(self, watcher: Watcher, stream: Stream) -> None:
        follow(watcher, stream)
        known_at = time.monotonic()
        assert watcher.vouches_for(known_at)
        stream.changes = [{"operationType": "invalidate"}]
        follow(watcher, stream)
        assert not watcher.vouches_for(known_at)
        assert watcher.vouches_for(time.monotonic())

    @pytest.mark.parametrize("answers", ["nothing has changed", "not at all", "other changes"])
    def test_a_stream_without_heartbeats_soon_vouches_for_nothing(
        self, watcher: Watcher, stream: Stream, monkeypatch: pytest.MonkeyPatch, answers: str
    ) -> None:
        """A server that was cut off from the others goes on saying that nothing has changed."""
        follow(watcher, stream)
        stream.beats = False
        if answers == "not at all":
            stream.answering.clear()
            assert stream.waiting.wait(20)
        else:
            asked = stream.asked
            wait_until(lambda: stream.asked > asked + 1)
        heard_at = watcher._heard_at
        if answers == "other changes":
            stream.changes = [change("tenants", TENANT)] * 3
        if answers != "not at all":
            follow(watcher, stream)
        assert watcher._heard_at == heard_at
        for later, vouched in ((59.9, True), (60.1, False)):
            with monkeypatch.context() as changed:
                changed.setattr(time, "monotonic", lambda later=later: heard_at + later)
                assert watcher.vouches_for(heard_at) is vouched

    def test_a_heartbeat_counts_from_when_it_was_written(
        self, watcher: Watcher, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It may have been on its way for long, and what was changed meanwhile comes after it."""
        now = 1000.0
        with monkeypatch.context() as changed:
            changed.setattr(time, "monotonic", lambda: now)
            changed.setattr(watcher, "ensure_running", lambda: None)
            watcher._begin()
            assert not watcher.vouches_for(1000.0), "none has come"
            watcher._tell(heartbeat(seconds_ago=2.0))
            assert watcher._heard_at == 998.0
            watcher._tell(heartbeat(seconds_ago=10.0))
            assert watcher._heard_at == 998.0, "what was proved stays so"
            for later, vouched in ((1000.0, True), (1058.0, True), (1058.125, False)):
                now = later
                assert watcher.vouches_for(1000.0) is vouched
                assert not watcher.vouches_for(999.0), "it is from before the stream"
            watcher._tell(heartbeat(seconds_ago=60.125))
            assert not watcher.vouches_for(1000.0), "it is too old"
            watcher._tell(heartbeat(seconds_ago=60.0))
            assert watcher.vouches_for(1000.0)

    def test_changes_that_wait_are_told_before_anything_is_vouched_for(
        self, watcher: Watcher, stream: Stream
    ) -> None:
        """While there are more, what was not told yet may be what is asked about."""
        follow(watcher, stream)
        heard_at: list[float] = []
        watcher.on_tenant_change(lambda _: heard_at.append(watcher._heard_at))
        stream.changes = [change("tenants", TENANT)] * 3
        wait_until(lambda: len(heard_at) == 3)
        assert len(set(heard_at)) == 1
        wait_until(lambda: watcher._heard_at > heard_at[0])

    def test_a_stream_that_failed_vouches_for_nothing(
        self, watcher: Watcher, stream: Stream
    ) -> None:
        follow(watcher, stream)
        stream.fails = AutoReconnect()
        stream.changes = [AutoReconnect()]
        wait_until(lambda: watcher._covered_since is None)
        assert not watcher.vouches_for(time.monotonic())

    def test_a_forked_process_vouches_for_nothing_and_starts_a_thread_of_its_own(
        self, watcher: Watcher, stream: Stream, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        follow(watcher, stream)
        parents = watcher._thread
        with monkeypatch.context() as forked:
            forked.setattr(os, "getpid", lambda: -1)
            assert not watcher.vouches_for(time.monotonic())
            assert watcher._thread is not parents
            wait_until(lambda: watcher.vouches_for(time.monotonic()))
            assert len(stream.opened) == 2
            watcher.stop()
        assert parents is not None
        parents.join(20)


class TestGoingOn:
    """A stream that has failed is opened where it was."""

    def fail(self, watcher: Watcher, stream: Stream, error: Exception) -> None:
        """Let it fail once, after all that there is was told."""
        follow(watcher, stream)
        stream.resume_token = {"_data": "here"}
        follow(watcher, stream)
        opened = len(stream.opened)
        stream.changes = [error]
        wait_until(lambda: len(stream.opened) > opened)
        stream.beats = True

    def test_what_is_known_stays_so_once_all_that_was_missed_is_heard(
        self, watcher: Watcher, stream: Stream, heard: Heard, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "UNCONFIRMED_SECONDS", 0.0)
        follow(watcher, stream)
        known_at = watcher._covered_since
        assert known_at is not None
        stream.beats = False
        self.fail(watcher, stream, AutoReconnect())
        assert stream.opened[-1][1]["resume_after"] == {"_data": "here"}
        vouched: list[bool] = []
        watcher.on_tenant_change(lambda _: vouched.append(watcher.vouches_for(known_at)))
        stream.changes = [change("tenants", TENANT)]
        wait_until(lambda: watcher.vouches_for(known_at))
        assert vouched in ([False], []), "not before a new heartbeat"
        assert heard.count(("gap",)) == 1

    def test_what_was_read_while_it_failed_or_just_before_is_read_again(
        self, watcher: Watcher, stream: Stream, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A primary may have said it that was not followed by a majority, and that has lost it."""
        follow(watcher, stream)
        monkeypatch.setattr(module, "UNCONFIRMED_SECONDS", 0.0)
        well_before = watcher._covered_since
        assert well_before is not None
        wait_until(lambda: watcher._heard_at > well_before)
        self.fail(watcher, stream, AutoReconnect())
        wait_until(lambda: watcher.vouches_for(time.monotonic()))
        assert watcher.vouches_for(well_before)
        assert not watcher.vouches_for(watcher._unconfirmed_from)
        monkeypatch.setattr(module, "UNCONFIRMED_SECONDS", 3600.0)
        self.fail(watcher, stream, AutoReconnect())
        wait_until(lambda: watcher.vouches_for(time.monotonic()))
        assert not watcher.vouches_for(well_before)

    def test_so_is_what_was_read_before_the_driver_has_resumed_it(
        self, watcher: Watcher, stream: Stream, heard: Heard
    ) -> None:
        follow(watcher, stream)
        known_at = time.monotonic()
        wait_until(lambda: watcher.vouches_for(known_at))
        stream.resumes = True
        wait_until(lambda: not watcher.vouches_for(known_at))
        wait_until(lambda: watcher.vouches_for(time.monotonic()))
        assert not watcher.vouches_for(known_at)
        assert heard == [("gap",)]
        assert len(stream.opened) == 1

    @pytest.mark.parametrize(
        "error", [OperationFailure("the history is lost", 286), OperationFailure("no rights", 13)]
    )
    def test_where_the_server_cannot_go_on_from_there_it_begins_anew(
        self, watcher: Watcher, stream: Stream, heard: Heard, error: Exception
    ) -> None:
        follow(watcher, stream)
        known_at = time.monotonic()
        stream.fails = error
        self.fail(watcher, stream, AutoReconnect())
        wait_until(lambda: watcher._place is None)
        stream.fails = None
        wait_until(lambda: watcher.vouches_for(time.monotonic()))
        assert [options["resume_after"] for _, options in stream.opened][-1] is None
        assert heard == [("gap",), ("gap",)]
        assert not watcher.vouches_for(known_at)

    def test_it_may_also_say_so_later(self, watcher: Watcher, stream: Stream, heard: Heard) -> None:
        self.fail(watcher, stream, OperationFailure("the history is lost", 286))
        assert stream.opened[-1][1]["resume_after"] is None
        wait_until(lambda: heard == [("gap",), ("gap",)])

    @pytest.mark.parametrize(
        "error", [AutoReconnect(), ExecutionTimeout("it takes long", 50), DatabaseUnavailable()]
    )
    def test_where_the_server_did_not_answer_it_asks_again(
        self, watcher: Watcher, stream: Stream, heard: Heard, error: Exception
    ) -> None:
        stream.fails = None
        follow(watcher, stream)
        stream.resume_token = {"_data": "here"}
        follow(watcher, stream)
        stream.fails = error
        stream.changes = [AutoReconnect()]
        opened = len(stream.opened)
        wait_until(lambda: len(stream.opened) > opened + 1)
        stream.fails = None
        wait_until(lambda: watcher.vouches_for(time.monotonic()))
        assert stream.opened[-1][1]["resume_after"] == {"_data": "here"}
        assert heard == [("gap",)]

    def test_after_a_handler_that_failed_it_begins_anew(
        self, watcher: Watcher, stream: Stream, heard: Heard
    ) -> None:
        """What it was told may be lost."""
        self.fail(watcher, stream, ZeroDivisionError())
        assert heard == [("gap",), ("gap",)]

    def test_one_that_has_ended_begins_anew(
        self, watcher: Watcher, stream: Stream, heard: Heard
    ) -> None:
        follow(watcher, stream)
        stream.resume_token = {"_data": "here"}
        follow(watcher, stream)
        stream.alive = False
        wait_until(lambda: len(stream.opened) > 1)
        stream.alive = True
        wait_until(lambda: watcher.vouches_for(time.monotonic()))
        assert stream.opened[-1][1]["resume_after"] is None

    def test_all_processes_try_again_at_random_times_and_ever_more_seldom(
        self, stream: Stream, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "PAUSE_SECONDS", 1.0)
        stream.fails = AutoReconnect()
        first, longest = [], []
        for failures in [8] * 19 + [1100]:  # an outage of an hour
            watcher = Watcher(lambda: cast(Any, stream), stale_seconds=60)
            pauses: list[float] = []

            def wait(
                seconds: float,
                pauses: list[float] = pauses,
                of: Watcher = watcher,
                failures: int = failures,
            ) -> None:
                pauses.append(seconds)
                if len(pauses) == failures:
                    of._stopping.set()

            monkeypatch.setattr(watcher._stopping, "wait", wait)
            watcher._run()
            first.append(pauses[0])
            longest.append(max(pauses))
        assert len(set(first)) == 20
        assert max(first) <= 1.0
        assert 2.0 < max(longest) <= 5.0


class TestHeartbeats:
    @pytest.mark.parametrize(
        ("told", "writer"),
        [
            (heartbeat(writer="third"), "third"),
            (heartbeat(operation="insert", writer="third"), "third"),
            (heartbeat(writer=None), "another"),
        ],
    )
    def test_they_are_no_change_and_say_who_writes_the_next(
        self, watcher: Watcher, stream: Stream, heard: Heard, told: Any, writer: str
    ) -> None:
        stream.beats = False
        stream.changes = [told]
        follow(watcher, stream)
        assert heard == [("gap",)]
        assert watcher._heartbeat._writer == writer
        assert watcher.vouches_for(time.monotonic())

    def test_one_that_was_removed_proves_nothing(
        self, watcher: Watcher, stream: Stream, heard: Heard
    ) -> None:
        stream.beats = False
        stream.changes = [heartbeat(operation="delete")]
        follow(watcher, stream)
        assert heard == [("gap",)]
        assert len(stream.opened) == 1
        assert not watcher.vouches_for(time.monotonic())

    def test_each_stream_takes_part_under_a_name_of_its_own(
        self, watcher: Watcher, stream: Stream, server: AdminServer
    ) -> None:
        stream.changes = [AutoReconnect()]
        follow(watcher, stream)
        assert len(set(server.claims)) == len(server.claims) == 2

    def test_whose_turn_it_is_writes_the_next(
        self, watcher: Watcher, stream: Stream, server: AdminServer
    ) -> None:
        server.writer = None
        stream.beats = False
        follow(watcher, stream)
        wait_until(lambda: len(server.written) > 1)
        ((name, instead_of),) = set(server.written)
        assert [name] == [instead_of] == server.claims

    def test_who_hears_them_writes_none_and_who_does_not_takes_over(
        self, watcher: Watcher, stream: Stream, server: AdminServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        follow(watcher, stream)
        assert server.written == []
        stream.beats = False
        wait_until(lambda: server.written)
        assert server.written[0] == (server.claims[0], "another")


class TestHowNewItIs:
    """What is read from the admin database now."""

    def test_while_the_stream_is_current_it_is_as_new_as_the_last_heartbeat(
        self, watcher: Watcher, stream: Stream, server: AdminServer
    ) -> None:
        follow(watcher, stream)
        before = watcher._heard_at
        assert before <= watcher.as_of() <= watcher._heard_at
        assert server.proofs == 0

    def test_otherwise_the_server_has_to_prove_that_it_is_the_primary(
        self, watcher: Watcher, stream: Stream, server: AdminServer
    ) -> None:
        stream.beats = False
        before = time.monotonic()
        proved_at = watcher.as_of()
        assert before <= proved_at <= time.monotonic()
        assert server.proofs == 1
        wait_until(lambda: stream.opened)  # it follows the stream from now on

    def test_requests_share_a_proof_for_a_moment(
        self, watcher: Watcher, server: AdminServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        now = 1000.0
        monkeypatch.setattr(watcher, "ensure_running", lambda: None)
        with monkeypatch.context() as changed:
            changed.setattr(time, "monotonic", lambda: now)
            proofs = []
            for later in (1000.0, 1000.25, 1000.375, 1000.5):
                now = later
                proofs.append((watcher.as_of(), server.proofs))
        assert proofs == [(1000.0, 1), (1000.0, 1), (1000.375, 2), (1000.375, 2)]

    def test_where_none_comes_it_is_not_known(
        self, watcher: Watcher, stream: Stream, server: AdminServer
    ) -> None:
        stream.beats = False
        server.proves = AutoReconnect()
        for proofs in (1, 2):
            with pytest.raises(AutoReconnect):
                watcher.as_of()
            assert server.proofs == proofs
        server.proves = None
        assert watcher.as_of() <= time.monotonic()

    def test_a_forked_process_asks_for_a_proof_of_its_own(
        self, watcher: Watcher, stream: Stream, server: AdminServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        follow(watcher, stream)
        monkeypatch.setattr(watcher, "ensure_running", lambda: None)
        with monkeypatch.context() as forked:
            forked.setattr(os, "getpid", lambda: -1)
            watcher.as_of()
        assert server.proofs == 1


class TestTheThread:
    @pytest.mark.parametrize(
        ("error", "said"),
        [
            (AutoReconnect(), "is down: AutoReconnect"),
            (DatabaseUnavailable(), "is down: DatabaseUnavailable"),
            (ZeroDivisionError(), "was given up"),
        ],
    )
    def test_it_begins_anew_whatever_happens(
        self,
        watcher: Watcher,
        stream: Stream,
        heard: Heard,
        caplog: pytest.LogCaptureFixture,
        error: Exception,
        said: str,
    ) -> None:
        stream.changes = [error, change("tenants", TENANT)]
        follow(watcher, stream)
        assert heard == [("gap",), ("gap",), ("tenant", TENANT)]
        assert len(stream.opened) == 2
        assert said in caplog.text

    def test_a_handler_that_fails_ends_only_this_stream(
        self, watcher: Watcher, stream: Stream, heard: Heard
    ) -> None:
        failures = [ZeroDivisionError()]

        def fail_once(_: ObjectId) -> None:
            if failures:
                raise failures.pop()

        watcher.on_tenant_change(fail_once)
        stream.changes = [change("tenants", TENANT)]
        follow(watcher, stream)
        wait_until(lambda: len(stream.opened) == 2)
        assert stream.closed == 1

    def test_it_is_started_once(self, watcher: Watcher, stream: Stream) -> None:
        follow(watcher, stream)
        thread = watcher._thread
        assert thread is not None
        assert (thread.name, thread.daemon) == ("tenant-watcher", True)
        watcher.ensure_running()
        watcher._start()
        assert watcher._thread is thread
        assert len(stream.opened) == 1

    def test_it_is_started_again_when_it_has_ended(self, watcher: Watcher, stream: Stream) -> None:
        follow(watcher, stream)
        ended = threading.Thread(target=lambda: None)
        watcher._stopping.set()
        assert watcher._thread is not None
        watcher._thread.join(20)
        watcher._stopping.clear()
        watcher._thread = ended
        watcher.ensure_running()
        assert watcher._thread is not ended
        wait_until(lambda: len(stream.opened) == 2)

    def test_once_stopped_it_is_not_started_again(
        self, watcher: Watcher, stream: Stream, caplog: pytest.LogCaptureFixture
    ) -> None:
        follow(watcher, stream)
        thread = watcher._thread
        assert thread is not None
        watcher.stop()
        assert not thread.is_alive()
        assert stream.closed == 1
        watcher.stop()
        watcher.ensure_running()
        assert watcher._thread is thread
        assert len(stream.opened) == 1

    def test_it_is_waited_for_in_the_process_that_started_it_and_not_for_ever(
        self, watcher: Watcher, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        waited: list[float] = []
        watcher._threads = [cast(Any, SimpleNamespace(join=lambda timeout: waited.append(timeout)))]
        with monkeypatch.context() as forked:
            forked.setattr(os, "getpid", lambda: -1)
            watcher.stop()
        assert waited == []
        watcher.stop()
        assert [round(seconds) for seconds in waited] == [5]

    def test_what_fails_because_it_is_stopped_is_no_news(
        self, watcher: Watcher, stream: Stream, caplog: pytest.LogCaptureFixture
    ) -> None:
        follow(watcher, stream)
        stream.answering.clear()
        time.sleep(0.01)
        watcher._stopping.set()
        stream.changes = [AutoReconnect()]
        stream.answering.set()
        watcher.stop()
        assert caplog.text == ""


class TestBackgroundWork:
    def test_it_is_done_stream_or_no_stream(
        self, watcher: Watcher, stream: Stream, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        done = []
        watcher.on_pause(lambda: done.append(1))
        stream.fails = AutoReconnect()
        watcher.ensure_running()
        wait_until(lambda: len(done) > 3)
        stream.fails = None
        wait_until(lambda: stream.asked)
        so_far = len(done)
        wait_until(lambda: len(done) > so_far + 3)

    @pytest.mark.parametrize(
        ("error", "level"),
        [
            (AutoReconnect(), logging.WARNING),
            (DatabaseUnavailable(), logging.WARNING),
            (ZeroDivisionError(), logging.ERROR),
        ],
    )
    def test_work_that_fails_keeps_neither_other_work_nor_the_stream(
        self,
        watcher: Watcher,
        stream: Stream,
        heard: Heard,
        caplog: pytest.LogCaptureFixture,
        error: Exception,
        level: int,
    ) -> None:
        def fail() -> None:
            raise error

        done = []
        watcher.on_pause(fail)
        watcher.on_pause(lambda: done.append(1))
        follow(watcher, stream)
        assert done
        assert heard == [("gap",)]
        assert {record.levelno for record in caplog.records} == {level}
