"""Which records withdraw which tokens."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import mongomock
import pytest
from bson import ObjectId

from multitenant.errors import TokenRevoked
from multitenant.repositories.model import MongoDocument
from multitenant.security.tokens import Claims, Impersonator
from multitenant.tenancy.routing.recent_answers import RecentAnswers, nobody_vouches
from multitenant.tenancy.routing.revocations import Revocations

TENANT, USER, NOBODY = (ObjectId(f"{number:024}") for number in range(3))
ISSUED = 1_900_000_000
ACCESS = Claims(
    *("access", "the-token", "the-family", USER, TENANT, "admin", 3, ISSUED, ISSUED + 900, "")
)
OPERATOR = Impersonator(ObjectId(f"{3:024}"), ObjectId(f"{4:024}"), "the-operators-family", 5)
IMPERSONATED = replace(ACCESS, impersonator=OPERATOR)
USER_KEY, TENANT_KEY = f"{TENANT}/{USER}", f"{TENANT}/"
OPERATOR_KEY, OPERATORS_TENANT_KEY = (
    f"{OPERATOR.tenant_id}/{OPERATOR.user_id}",
    f"{OPERATOR.tenant_id}/",
)
AT = datetime.fromtimestamp(ISSUED, UTC)


class Admin:
    """An admin database, and what checks tokens by it."""

    def __init__(self) -> None:
        self.db: Any = mongomock.MongoClient(tz_aware=True)["admin_db"]
        self.looked_up = 0
        recent = RecentAnswers[str, MongoDocument | None](
            100, stale_seconds=60, vouches=nobody_vouches
        )
        self.revocations = Revocations(self._db, recent)

    def _db(self) -> Any:
        self.looked_up += 1
        return self.db

    def withdraw(self, key: str, **fields: Any) -> None:
        self.db["revocations"].insert_one({"_id": key, **fields})

    def is_valid(self, claims: Claims) -> bool:
        """Whether it is, which must be the same now as by what is known."""
        answers = set()
        for check in (self.revocations.ensure_valid, self.revocations.ensure_valid_now):
            try:
                check(claims)
                answers.add(True)
            except TokenRevoked:
                answers.add(False)
        (answer,) = answers
        return answer


@pytest.fixture(autouse=True)
def _mongomock_takes_any_options(monkeypatch: pytest.MonkeyPatch) -> None:
    """It keeps Python's values: there is nothing that it could decode leniently."""
    monkeypatch.setattr("mongomock.codec_options.is_supported", lambda _: None)


@pytest.fixture
def admin() -> Admin:
    return Admin()


def test_without_a_record_every_token_is_valid(admin: Admin) -> None:
    assert admin.is_valid(ACCESS)
    assert admin.is_valid(IMPERSONATED)


@pytest.mark.parametrize("key", ["the-token", "the-family"])
def test_a_token_is_withdrawn_by_its_id_and_its_family(admin: Admin, key: str) -> None:
    admin.withdraw(key)
    assert not admin.is_valid(ACCESS)


def test_a_refresh_token_is_not_asked_about_by_its_id(admin: Admin) -> None:
    """Its use is such a record, and the refresh itself must tell the first from the second."""
    admin.withdraw("the-token")
    assert admin.is_valid(replace(ACCESS, type="refresh"))


@pytest.mark.parametrize("key", ["another-token", f"{TENANT}/{NOBODY}", f"{NOBODY}/{USER}"])
def test_the_record_of_somebody_else_withdraws_nothing(admin: Admin, key: str) -> None:
    admin.withdraw(key, version=100)
    assert admin.is_valid(ACCESS)


@pytest.mark.parametrize(("version", "valid"), [(3, True), (4, False)])
def test_a_users_older_tokens_are_withdrawn(admin: Admin, version: int, valid: bool) -> None:
    admin.withdraw(USER_KEY, version=version)
    assert admin.is_valid(ACCESS) is valid


def test_one_family_of_the_user_may_be_spared(admin: Admin) -> None:
    admin.withdraw(USER_KEY, version=4, exceptFamily="the-family")
    assert admin.is_valid(ACCESS)
    assert not admin.is_valid(replace(ACCESS, family="another"))


@pytest.mark.parametrize(
    ("version", "seconds", "valid"),
    [(4, 0, False), (4, 1, False), (4, -1, True), (3, 1, True)],
)
def test_the_tokens_of_all_users_of_a_tenant_are_withdrawn_that_are_older_than_that(
    admin: Admin, version: int, seconds: int, valid: bool
) -> None:
    until = datetime.fromtimestamp(ISSUED + seconds, UTC)
    admin.withdraw(TENANT_KEY, version=version, issuedUntil=until)
    assert admin.is_valid(ACCESS) is valid


@pytest.mark.parametrize(
    ("key", "fields", "valid"),
    [
        ("the-operators-family", {}, False),
        (OPERATOR_KEY, {"version": 6}, False),
        (OPERATOR_KEY, {"version": 5}, True),
        (OPERATOR_KEY, {"version": 6, "exceptFamily": "the-operators-family"}, True),
        (OPERATOR_KEY, {"version": 6, "exceptFamily": "the-family"}, False),
        (OPERATORS_TENANT_KEY, {"version": 6, "issuedUntil": AT}, False),
        (OPERATORS_TENANT_KEY, {"version": 5, "issuedUntil": AT}, True),
    ],
)
def test_impersonation_ends_with_the_operators_session(
    admin: Admin, key: str, fields: dict[str, Any], valid: bool
) -> None:
    admin.withdraw(key, **fields)
    assert admin.is_valid(IMPERSONATED) is valid
    assert admin.is_valid(ACCESS)


@pytest.mark.parametrize("key", ["the-family", "the-token"])
def test_impersonation_ends_also_with_what_it_began_itself(admin: Admin, key: str) -> None:
    admin.withdraw(key)
    assert not admin.is_valid(IMPERSONATED)


def test_the_first_tokens_of_a_user_are_valid(admin: Admin) -> None:
    assert admin.is_valid(replace(ACCESS, version=0))


def test_what_is_known_is_not_read_again_until_it_is_forgotten(admin: Admin) -> None:
    ensure = admin.revocations.ensure_valid
    ensure(ACCESS)
    admin.withdraw(USER_KEY, version=4)
    ensure(ACCESS)
    assert admin.looked_up == 1
    admin.revocations.forget("the-family")
    ensure(ACCESS)
    admin.revocations.forget(USER_KEY)
    with pytest.raises(TokenRevoked):
        ensure(ACCESS)
    admin.db["revocations"].delete_many({})
    with pytest.raises(TokenRevoked):
        ensure(ACCESS)
    admin.revocations.forget()
    ensure(ACCESS)


class TestNow:
    """Where the user's own record was read, too."""

    def test_a_change_that_is_not_known_yet_counts(self, admin: Admin) -> None:
        admin.revocations.ensure_valid(ACCESS)
        admin.withdraw("the-family")
        with pytest.raises(TokenRevoked):
            admin.revocations.ensure_valid_now(ACCESS)

    def test_a_token_older_than_the_users_record_is_void(self, admin: Admin) -> None:
        admin.revocations.ensure_valid_now(ACCESS, {"tokenVersion": 3})
        with pytest.raises(TokenRevoked):
            admin.revocations.ensure_valid_now(ACCESS, {"tokenVersion": 4})

    @pytest.mark.parametrize("version", [4, 5])
    def test_unless_its_family_was_spared(self, admin: Admin, version: int) -> None:
        admin.withdraw(USER_KEY, version=version, exceptFamily="the-family")
        admin.revocations.ensure_valid_now(ACCESS, {"tokenVersion": 4})
        with pytest.raises(TokenRevoked):
            admin.revocations.ensure_valid_now(
                replace(ACCESS, family="another"), {"tokenVersion": 4}
            )

    def test_a_record_that_spares_nobody_does_not_spare_it(self, admin: Admin) -> None:
        admin.withdraw(USER_KEY, version=3)
        with pytest.raises(TokenRevoked):
            admin.revocations.ensure_valid_now(ACCESS, {"tokenVersion": 4})

    def test_what_an_older_record_spares_is_void_by_a_newer_version(self, admin: Admin) -> None:
        admin.withdraw(USER_KEY, version=3, exceptFamily="the-family")
        with pytest.raises(TokenRevoked):
            admin.revocations.ensure_valid_now(ACCESS, {"tokenVersion": 4})

    def test_the_users_own_record_spares_a_family_too(self, admin: Admin) -> None:
        user = {"tokenVersion": 4, "exceptFamily": "the-family"}
        admin.revocations.ensure_valid_now(ACCESS, user)
        with pytest.raises(TokenRevoked):
            admin.revocations.ensure_valid_now(replace(ACCESS, family="another"), user)

    def test_what_it_spares_is_void_by_a_newer_revocation(self, admin: Admin) -> None:
        admin.withdraw(USER_KEY, version=5)
        with pytest.raises(TokenRevoked):
            admin.revocations.ensure_valid_now(
                ACCESS, {"tokenVersion": 4, "exceptFamily": "the-family"}
            )
