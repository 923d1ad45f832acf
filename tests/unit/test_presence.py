"""Telling the other processes of this one, while the admin database does not answer."""

import threading
import time

import pytest
from pymongo.errors import AutoReconnect

from multitenant.errors import DatabaseUnavailable
from multitenant.repositories.model import MongoDatabase
from multitenant.tenancy.routing.lease_generations import LeaseGenerations
from multitenant.tenancy.routing.presence import Presence


def test_those_who_waited_for_a_failure_do_not_wait_for_another_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else each request would wait for all before it, one operation's time for each."""
    attempts = []
    begun, go_on = threading.Event(), threading.Event()

    def fail(db: MongoDatabase, process: str) -> None:
        attempts.append(process)
        begun.set()
        go_on.wait(30)
        raise AutoReconnect

    monkeypatch.setattr("multitenant.repositories.admin.handshakes.note_process", fail)
    presence = Presence(lambda: None, LeaseGenerations(), lambda: None)  # type: ignore[arg-type, return-value]
    refused = []

    def ensure() -> None:
        try:
            presence.ensure()
        except (AutoReconnect, DatabaseUnavailable) as error:
            refused.append(type(error))

    threads = [threading.Thread(target=ensure) for _ in range(8)]
    for thread in threads:
        thread.start()
    assert begun.wait(30)
    time.sleep(0.3)  # for the others to get in line
    go_on.set()
    for thread in threads:
        thread.join()

    assert len(refused) == len(threads)
    assert len(attempts) < len(threads) / 2
