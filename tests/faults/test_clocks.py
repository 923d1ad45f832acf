"""Clocks that differ, or are set: no token counts longer than it should, no lock that is held is
taken, nobody is locked out."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from multitenant.clock import CLOCK, Clock
from multitenant.repositories.admin.locks import acquire_lock
from multitenant.repositories.model import utc_now
from multitenant.tenancy.routing.presence import NEVER
from tests import plain_http
from tests.conftest import MakeWorld
from tests.e2e.server import GUNICORN, ROOT, Server
from tests.integration.test_limits import try_login
from tests.support import JWT_KEY, PASSWORD, World, eventually, refusal

HOUR = 3600
MARGIN = 60
"""Seconds by which a right time may seem wrong on a machine that stalls."""

SHIFTED = '''
"""Every clock of this process but the monotonic one is wrong."""
import datetime as module
import time

SECONDS = {seconds}
told, real = time.time, module.datetime
time.time = lambda: told() + SECONDS


class Kind(type(real)):
    def __instancecheck__(cls, instance):
        return isinstance(instance, real)


class Shifted(real, metaclass=Kind):
    @classmethod
    def now(cls, tz=None):
        return real.now(tz) + module.timedelta(seconds=SECONDS)

    @classmethod
    def utcnow(cls):
        return real.utcnow() + module.timedelta(seconds=SECONDS)


module.datetime = Shifted
'''


@contextmanager
def serving(environment: dict[str, str], directory: Path, seconds: int) -> Iterator[Server]:
    """A server on a machine whose clock is so much ahead."""
    directory.mkdir()
    (directory / "sitecustomize.py").write_text(SHIFTED.format(seconds=seconds))
    changed = environment | {
        "PYTHONPATH": f"{directory}:{ROOT}",
        "WORKERS": "1",
        "WORKER_CLASS": "gevent",
        "LOGIN_RATE_LIMIT": "6 per minute",
    }
    with Server((*GUNICORN, "wsgi:app"), changed, directory) as server:
        yield server.wait_until_ready()


def claims_of(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


def with_expiry(token: str, seconds: int) -> str:
    """The same token, as if it expired so many seconds from now, by the right time."""
    header = jwt.get_unverified_header(token)
    claims = claims_of(token) | {"exp": int(time.time()) + seconds, "jti": f"expires {seconds}"}
    return jwt.encode(claims, JWT_KEY, headers={"kid": header["kid"]})


def me(server: Server, token: str) -> httpx.Response:
    headers = {"Authorization": f"Bearer {token}"}
    return plain_http.get(f"{server.url}/api/users/me", headers=headers, timeout=30)


def code(response: httpx.Response) -> str:
    return str(response.json()["responseObject"]["code"])


@pytest.mark.slow
def test_servers_whose_clocks_are_two_hours_apart_agree(
    make_world: MakeWorld, environment: dict[str, str], tmp_path: Path
) -> None:
    world = make_world()
    owner = world.tenant("Acme")
    with ExitStack() as ends:
        servers = [
            ends.enter_context(serving(environment, tmp_path / name, seconds))
            for name, seconds in (("ahead", HOUR), ("behind", -HOUR))
        ]
        for server in servers:
            # What one gives is good at all, from now on and for as long as it says.
            body = {"email": "owner@acme.example", "password": PASSWORD}
            session = plain_http.post(f"{server.url}/api/login", json=body, timeout=30).json()
            tokens = session["responseObject"]
            claims = claims_of(tokens["accessToken"])
            assert abs(claims["iat"] - time.time()) < MARGIN
            assert claims["exp"] - claims["iat"] == world.platform.settings.access_token_seconds
            for other in servers:
                assert me(other, tokens["accessToken"]).status_code == 200
                # An hour is no more to one that has expired, and no less to one that has not.
                assert code(me(other, with_expiry(owner.access, -MARGIN))) == "token_expired"
                assert me(other, with_expiry(owner.access, MARGIN)).status_code == 200

        # A maintenance lasts for all until it ends.
        record = {"name": "Acme"}
        for ends_in, status in ((MARGIN, 503), (-1, 200)):
            until = datetime.now(UTC) + timedelta(seconds=ends_in)
            changes = {"status": "maintenance", "maintenanceUntil": until}
            world.admin_db["tenants"].update_one(record, {"$set": changes})
            for server in servers:
                eventually(
                    lambda server=server, status=status: (  # type: ignore[misc]
                        me(server, owner.access).status_code == status
                    )
                )

        # Logins are counted together, and nobody waits for longer than the limit says.
        url = "/api/login"
        wrong = {"email": "somebody@acme.example", "password": "wrong password"}
        answers = [
            plain_http.post(f"{servers[number % 2].url}{url}", json=wrong, timeout=30)
            for number in range(8)
        ]
        refused = [response for response in answers if response.status_code == 429]
        assert len(refused) >= 2, [response.status_code for response in answers]
        assert all(0 < int(response.headers["Retry-After"]) <= 61 for response in refused)


@pytest.fixture(params=[HOUR, -HOUR], ids=["forward", "back"])
def step(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """A function that sets this machine's clock an hour on, or back."""
    right = time.time

    def take() -> None:
        monkeypatch.setattr(time, "time", lambda: right() + request.param)

    return take


class TestAStep:
    """Of an hour, of the clock of one process that is at work."""

    @pytest.mark.slow
    def test_changes_nothing_for_tokens(self, world: World, step: Callable[[], None]) -> None:
        owner = world.tenant("Acme")
        expired, good = with_expiry(owner.access, -MARGIN), with_expiry(owner.access, MARGIN)
        step()
        assert owner.get("/api/users/me").status_code == 200
        for token, status in ((expired, 401), (good, 200)):
            answered = world.client.get("/api/users/me", headers={"jwt": token})
            assert answered.status_code == status
        again = world.login("owner@acme.example")
        assert abs(claims_of(again.access)["iat"] - claims_of(owner.access)["iat"]) < MARGIN

    def test_ends_no_withdrawal_before_the_token(
        self, world: World, step: Callable[[], None]
    ) -> None:
        """MongoDB removes the record of it when that says so, by its own clock."""
        owner = world.tenant("Acme")
        step()
        assert owner.post("/api/logout").status_code == 200
        refusal(owner.get("/api/users/me"), 401, "token_revoked")
        (record,) = world.admin_db["revocations"].find()
        assert record["expiresAt"].timestamp() >= claims_of(owner.refresh)["exp"]

    def test_takes_no_lock_that_is_held_and_every_one_that_is_not(
        self, world: World, step: Callable[[], None]
    ) -> None:
        admin_db, minute = world.admin_db, timedelta(minutes=1)
        assert acquire_lock(admin_db, "held", holder="another", lasts=minute)
        assert acquire_lock(admin_db, "left", holder="another", lasts=-minute)
        step()
        assert not acquire_lock(admin_db, "held", holder="this", lasts=minute)
        assert acquire_lock(admin_db, "left", holder="this", lasts=minute)

    def test_locks_nobody_out_of_logging_in_and_lets_nobody_try_more(
        self, make_world: MakeWorld, step: Callable[[], None]
    ) -> None:
        world = make_world(login_rate_limit="4 per minute")
        statuses = [try_login(world, "owner@acme.example").status_code for _ in range(3)]
        step()
        response = try_login(world, "owner@acme.example")
        statuses += [response.status_code]
        response = try_login(world, "owner@acme.example")
        assert [*statuses, response.status_code] == [401] * 4 + [429]
        assert 0 < int(response.headers["Retry-After"]) <= 61


def test_the_first_token_that_a_process_sees_makes_it_ask_for_the_time(
    world: World, step: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = world.tenant("Acme")
    monkeypatch.setattr(CLOCK, "_ahead", None)
    monkeypatch.setattr(world.platform.connections.presence, "_noted_at", NEVER)
    expired = with_expiry(owner.access, -MARGIN)
    step()
    assert owner.get("/api/users/me").status_code == 200
    answered = world.client.get("/api/users/me", headers={"jwt": expired})
    refusal(answered, 401, "token_expired")


def test_a_process_learns_of_a_step_of_mongodbs_clock_when_it_notes_itself(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after an election, when the new primary's clock is another one."""
    presence = world.platform.connections.presence
    monkeypatch.setattr(CLOCK, "_ahead", time.time() - time.monotonic() + HOUR)
    assert (utc_now() - datetime.now(UTC)).total_seconds() > HOUR - MARGIN
    monkeypatch.setattr(presence, "_noted_at", NEVER)
    presence.ensure()
    assert abs((utc_now() - datetime.now(UTC)).total_seconds()) < MARGIN


def test_a_clock_that_agrees_with_what_it_hears_stays_as_it_is() -> None:
    clock = Clock()
    moment = datetime.fromtimestamp(1_000_000, UTC)
    clock.hear(moment, asked_at=10, answered_at=10)
    assert clock.is_set
    ahead = clock.now() - time.monotonic()
    # The way to the server and back took two seconds, and it told the time somewhere between.
    clock.hear(moment + timedelta(seconds=11), asked_at=20, answered_at=22)
    assert clock.now() - time.monotonic() == pytest.approx(ahead)
    clock.hear(moment + timedelta(seconds=25), asked_at=30, answered_at=32)
    assert clock.now() - time.monotonic() == pytest.approx(ahead + 3)
    clock.hear(moment + timedelta(seconds=25), asked_at=40, answered_at=42)
    assert clock.now() - time.monotonic() == pytest.approx(ahead - 5)
