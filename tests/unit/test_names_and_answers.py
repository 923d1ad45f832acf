"""Which hosts are asked about, and for how long an answer is good."""

from collections.abc import Callable
from typing import Any

import mongomock
import pytest
from bson import ObjectId

from multitenant.tenancy.routing.host_names import NOBODY, HostNames, NamedTenant
from multitenant.tenancy.routing.recent_answers import RecentAnswers, nobody_vouches


@pytest.fixture(autouse=True)
def _mongomock_takes_any_options(monkeypatch: pytest.MonkeyPatch) -> None:
    """It keeps Python's values: there is nothing that it could decode leniently."""
    monkeypatch.setattr("mongomock.codec_options.is_supported", lambda _: None)


class Hosts:
    """Host names, and how often the admin database was asked about them."""

    def __init__(self, base_domain: str = "saas.example") -> None:
        self.db: Any = mongomock.MongoClient()["admin_db"]
        self.asked = 0
        recent = RecentAnswers[str, NamedTenant](10, stale_seconds=60, vouches=nobody_vouches)
        self.names = HostNames(self._db, recent, base_domain=base_domain)

    def _db(self) -> Any:
        self.asked += 1
        return self.db


@pytest.mark.parametrize(
    "host",
    [
        "",
        ".",
        "localhost",
        "LOCALHOST:5000",
        "saas.example",
        "127.0.0.1",
        "[::1]",
        "[::1]:1",
        "[::1]]",
    ],
)
def test_what_can_be_no_tenants_is_not_asked_about(host: str) -> None:
    hosts = Hosts()
    assert hosts.names.tenant_of(host) == NOBODY
    assert hosts.asked == 0


@pytest.mark.parametrize("host", ["xacme.example", "acme.examplex", "x"])
def test_only_a_dot_at_the_end_is_left_out(host: str) -> None:
    hosts, acme = Hosts(), ObjectId()
    hosts.db["tenants"].insert_one({"_id": acme, "domains": [host]})
    assert hosts.names.tenant_of(f"{host}.") == NamedTenant(True, acme)
    assert hosts.names.tenant_of(f"{host.upper()}:443") == NamedTenant(True, acme)
    assert hosts.asked == 1


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("saas.example", True),
        ("acme.saas.example", True),
        ("evil-saas.example", False),
        ("example", False),
    ],
)
def test_the_platforms_own_names_end_with_its_domain(name: str, own: bool) -> None:
    assert Hosts().names.is_own(name) is own
    assert Hosts(base_domain="").names.is_own(name) is False


@pytest.mark.parametrize(("later", "asked"), [(10.0, 1), (10.1, 2)])
def test_an_answer_is_good_for_exactly_its_time(
    monkeypatch: pytest.MonkeyPatch, later: float, asked: int
) -> None:
    now = 100.0
    monkeypatch.setattr("multitenant.tenancy.routing.recent_answers.time.monotonic", lambda: now)
    recent = RecentAnswers[str, int](10, stale_seconds=10, vouches=nobody_vouches)
    questions: list[int] = []
    ask: Callable[[], int] = lambda: questions.append(1) or 1  # type: ignore[func-returns-value]  # noqa: E731
    recent.get("key", ask)
    now += later
    recent.get("key", ask)
    monkeypatch.undo()
    assert len(questions) == asked


def test_what_was_forgotten_twice_meanwhile_is_not_kept() -> None:
    """Each change counts, not that there was one."""
    recent = RecentAnswers[str, int](10, stale_seconds=60, vouches=nobody_vouches)
    recent.forget()

    def change() -> int:
        recent.forget()
        return 1

    assert recent.get("key", change) == 1
    assert recent.get("key", lambda: 2) == 2
