"""What a refused login tells by the time it takes: nothing of whether the account exists.

Twice: by what it does (as many hashes, the same commands), which is exact, and by the clock, with
many samples of each kind taken in turn, so that what else the machine does slows all of them alike.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import bcrypt
import pytest
from bson import ObjectId

from multitenant.security.passwords import PasswordHasher
from tests.conftest import MakeWorld
from tests.faults.budget import LONG
from tests.support import PASSWORD, World

KINDS = {
    "wrong password": {"email": "owner@acme.example", "password": "not this one"},
    "unknown email": {"email": "nobody@acme.example", "password": "not this one"},
    "disabled user": {"email": "owner@disabled.example", "password": PASSWORD},
    "invited user": {"email": "owner@invited.example", "password": "not this one"},
    "deleted tenant": {"email": "owner@deleted.example", "password": PASSWORD},
    "suspended tenant": {"email": "owner@suspended.example", "password": "not this one"},
    "tenant named in vain": {
        "email": "owner@acme.example",
        "password": PASSWORD,
        "tenant": "Suspended",
    },
}
KNOWN, UNKNOWN = "wrong password", "unknown email"
# Those that differ in what the platform finds; the commands of the others are the same.
TIMED = (KNOWN, UNKNOWN, "disabled user", "deleted tenant")
ROUNDS = 8
SAMPLES = 200 if LONG else 25
ATTEMPTS = 3
# What counts as a difference: one that chance hardly makes, and that is a good part of a hash. That
# takes 16 times as long in production, where all else takes as long as here.
CHANCE = 1e-4
PART_OF_A_HASH = 0.3

Times = dict[str, list[float]]


@pytest.fixture
def prepared(make_world: MakeWorld) -> World:
    """A world with an account of each kind, all of which it has met."""
    world = make_world(bcrypt_rounds=ROUNDS)
    tenants = {name: world.tenant(name) for name in ("Acme", "Disabled", "Deleted", "Suspended")}
    world.add(name="Invited", email="owner@invited.example")
    disabled = tenants["Disabled"]
    world.db_of(disabled.tenant_id)["users"].update_one(
        {"_id": ObjectId(disabled.user_id)}, {"$set": {"status": "disabled"}}
    )
    world.operator.delete(f"/api/tenants/{tenants['Deleted'].tenant_id}")
    world.operator.post(f"/api/tenants/{tenants['Suspended'].tenant_id}/suspend")
    for kind in KINDS:
        log_in(world, kind)
    return world


def log_in(world: World, kind: str) -> None:
    response = world.client.post("/api/login", json=KINDS[kind])
    assert response.status_code == 401, (kind, response.text)
    assert response.get_json()["message"] == "Invalid email or password"


@pytest.mark.slow
def test_every_refused_login_sends_the_same_commands_and_makes_one_hash(
    prepared: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    verify, hashes = PasswordHasher.verify, []

    def count(self: PasswordHasher, password: str, hashed: str | None, tenant: Any) -> bool:
        hashes.append(hashed)
        return verify(self, password, hashed, tenant)

    monkeypatch.setattr(PasswordHasher, "verify", count)

    def done(kind: str) -> list[tuple[str, Any]]:
        prepared.recorder.commands.clear()
        hashes.clear()
        log_in(prepared, kind)
        sent = [(name, command.get(name)) for _, name, command in prepared.recorder.commands]
        # What the process does now and then anyway, the look at whose a database is (every five
        # seconds at most, for a tenth of the time that one hash of cost 4 takes) included.
        of_others = ("processes", "locks", "migrations")
        return [
            *(
                (name, where)
                for name, where in sent
                if name != "getMore" and where not in of_others
            ),
            ("hashes", len(hashes)),
        ]

    work = {kind: done(kind) for kind in KINDS}
    assert ("hashes", 1) in work[KNOWN]
    assert ("find", "users") in work[KNOWN]
    assert {kind: steps for kind, steps in work.items() if steps != work[KNOWN]} == {}


@pytest.mark.slow
def test_the_time_of_a_refused_login_does_not_tell_whether_the_account_exists(
    prepared: World,
) -> None:
    found: list[list[str]] = []
    for _ in range(ATTEMPTS):
        found.append(distinguished(sample(lambda kind: log_in(prepared, kind), list(TIMED))))
        if not found[-1]:
            return
    told = set.intersection(*map(set, found))
    assert not told, f"each time the clock tells these from a {KNOWN}: {told}"


@pytest.mark.parametrize("rounds", range(4, ROUNDS + 1))
def test_a_hash_of_cheaper_days_takes_as_long_as_nobodys(
    rounds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After BCRYPT_ROUNDS was raised, accounts with older hashes would stand out."""
    older = PasswordHasher(rounds=rounds, parallel=1, waiting=1).hash(PASSWORD)
    hasher = PasswordHasher(rounds=ROUNDS, parallel=1, waiting=1)
    work: list[int] = []
    for function in (bcrypt.checkpw, bcrypt.hashpw):

        def spend(password: bytes, salt: bytes, function: Any = function) -> Any:
            work.append(2 ** int(salt.split(b"$")[2]))
            return function(password, salt)

        monkeypatch.setattr(bcrypt, function.__name__, spend)

    for password, hashed, fits in (
        (PASSWORD, older, True),
        ("not this one", older, False),
        (PASSWORD, None, False),
    ):
        work.clear()
        assert hasher.verify(password, hashed) is fits
        assert sum(work) == 2**ROUNDS


@pytest.mark.slow
def test_a_hash_that_is_spared_is_noticed(prepared: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison above can fail."""
    verify = PasswordHasher.verify

    def careless(
        self: PasswordHasher, password: str, hashed: str | None, tenant: Any = None
    ) -> bool:
        return bool(hashed) and verify(self, password, hashed, tenant)

    monkeypatch.setattr(PasswordHasher, "verify", careless)
    kinds = [KNOWN, UNKNOWN]
    assert any(
        distinguished(sample(lambda kind: log_in(prepared, kind), kinds)) == [UNKNOWN]
        for _ in range(3 * ATTEMPTS)  # until it is, on a machine that is busy with other things
    )


def sample(send: Callable[[str], None], kinds: list[str]) -> Times:
    """How long each kind took, in seconds, one of each in turn and every other turn backwards."""
    times: Times = {kind: [] for kind in kinds}
    for turn in range(SAMPLES):
        for kind in kinds if turn % 2 else reversed(kinds):
            started = time.perf_counter()
            send(kind)
            times[kind].append(time.perf_counter() - started)
    return times


def distinguished(times: Times) -> list[str]:
    """The kinds that take another time than a wrong password for a known account."""
    known = times[KNOWN]
    hasher = PasswordHasher(rounds=ROUNDS, parallel=1, waiting=1)
    spent = []
    for _ in range(5):
        started = time.perf_counter()
        hasher.verify("x", None)
        spent.append(time.perf_counter() - started)
    enough = PART_OF_A_HASH * min(spent)
    return [
        kind
        for kind, others in times.items()
        if abs(statistics.median(others) - statistics.median(known)) > enough
        and by_chance(known, others) < CHANCE
    ]


def by_chance(one: list[float], other: list[float]) -> float:
    """How probable it is that two samples of one thing differ so much: the Mann-Whitney test, in
    its normal approximation. Only ranks count: a stall weighs no more than a short delay."""
    larger = sum((a > b) + (a == b) / 2 for a in one for b in other)
    mean = len(one) * len(other) / 2
    deviation = (mean * (len(one) + len(other) + 1) / 6) ** 0.5
    return 2 * statistics.NormalDist().cdf(-abs(larger - mean) / deviation)


def test_the_statistic_tells_samples_apart_and_takes_alike_ones_for_alike() -> None:
    ascending = [float(number) for number in range(30)]
    assert by_chance(ascending, ascending) == pytest.approx(1)
    assert by_chance(ascending, [number + 1 for number in ascending]) > 0.1
    assert by_chance(ascending, [number + 20 for number in ascending]) < CHANCE
    assert by_chance([number + 20 for number in ascending], ascending) < CHANCE
