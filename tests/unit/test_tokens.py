"""Tokens: what is in them, what is refused, and that it is found out once. Time is ours."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from bson import ObjectId
from flask import Flask

from multitenant.config import Settings, load_settings
from multitenant.errors import TokenExpired, TokenInvalid
from multitenant.security import tokens as module
from multitenant.security.tokens import Claims, Impersonator, Tokens, TokenType, expiry
from tests.support import CREDENTIAL_KEY, JWT_KEY

OTHER_KEY = "another-signing-key-" + "0123456789abcdef" * 4
USER, TENANT = ObjectId(), ObjectId()
NOW = 2_000_000_000.0
OPERATOR = Claims(
    "access", "o1", "of", ObjectId(), ObjectId(), "operator", 7, 1, 2, "", impersonator=None
)


def settings(**changes: str) -> Settings:
    variables = {
        "MULTITENANT_ENV": "development",
        "ADMIN_DB_URI": "mongodb://localhost/",
        "ADMIN_DB_NAME": "the_platform",
        "JWT_SECRET_KEYS": JWT_KEY,
        "CREDENTIAL_KEYS": CREDENTIAL_KEY,
        "ACCESS_TOKEN_SECONDS": "600",
        "REFRESH_TOKEN_SECONDS": "86400",
        "INVITATION_SECONDS": "3600",
        "IMPERSONATION_SECONDS": "300",
        **changes,
    }
    return load_settings(variables, env_file=None)


class Issuer:
    """Tokens, and the time that they go by."""

    def __init__(self, **changes: str) -> None:
        self.now = NOW
        self.tokens = Tokens(settings(**changes), lambda: self.now)
        self.app = Flask(__name__)
        self.tokens.init_app(self.app)

    def pair(self, **changes: Any) -> module.TokenPair:
        fields: dict[str, Any] = {
            "user_id": USER,
            "tenant_id": TENANT,
            "role": "admin",
            "version": 3,
            "family": "family",
            **changes,
        }
        with self.app.app_context():
            return self.tokens.issue_pair(**fields)

    def access(self, **changes: Any) -> str:
        return self.pair(**changes).access


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


def payload(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


def forged(issuer: Issuer, key: str | None = None, **claims: Any) -> str:
    """A token like a genuine one, but for these claims; None leaves one out."""
    changed = {**payload(issuer.access()), **claims}
    changed = {name: value for name, value in changed.items() if value is not None}
    return jwt.encode(changed, key or JWT_KEY, "HS256", headers={"kid": module._key_id(JWT_KEY)})


class TestIssuing:
    def test_a_pair_is_of_one_family_and_each_lives_as_long_as_is_set(self, issuer: Issuer) -> None:
        pair = issuer.pair()
        access = issuer.tokens.verify(pair.access, "access")
        refresh = issuer.tokens.verify(pair.refresh, "refresh")
        assert replace(access, id="", csrf="") == Claims(
            "access", "", "family", USER, TENANT, "admin", 3, int(NOW), int(NOW) + 600, ""
        )
        assert replace(refresh, id="", csrf="") == Claims(
            "refresh", "", "family", USER, TENANT, "admin", 3, int(NOW), int(NOW) + 86400, ""
        )
        assert access.id != refresh.id
        assert access.csrf
        assert access.csrf != refresh.csrf
        for token in (pair.access, pair.refresh):
            assert payload(token)["nbf"] == int(NOW)
            assert payload(token)["aud"] == "the_platform"
            assert jwt.get_unverified_header(token)["kid"] == module._key_id(JWT_KEY)

    def test_without_a_family_a_new_one_begins(self, issuer: Issuer) -> None:
        families = set()
        for _ in range(2):
            pair = issuer.pair(family=None)
            assert payload(pair.access)["fam"] == payload(pair.refresh)["fam"]
            families.add(payload(pair.access)["fam"])
        assert len(families) == 2
        assert all(len(family) == 32 for family in families)

    def test_an_operator_acts_as_a_user_for_a_while(self, issuer: Issuer) -> None:
        fields: dict[str, Any] = {
            "user_id": USER,
            "tenant_id": TENANT,
            "role": "owner",
            "version": 4,
        }
        with issuer.app.app_context():
            first = issuer.tokens.issue_impersonation(OPERATOR, **fields)
            second = issuer.tokens.issue_impersonation(OPERATOR, **fields)
        claims = issuer.tokens.verify(first, "access")
        assert claims.impersonator == Impersonator(
            OPERATOR.user_id, OPERATOR.tenant_id, OPERATOR.family, OPERATOR.version
        )
        assert (claims.user_id, claims.tenant_id) == (USER, TENANT)
        assert (claims.role, claims.version) == ("owner", 4)
        assert (claims.issued_at, claims.expires_at) == (int(NOW), int(NOW) + 300)
        assert len(claims.family) == 32
        assert claims.family != issuer.tokens.verify(second, "access").family

    def test_an_invitation_is_the_same_whenever_it_is_told(self, issuer: Issuer) -> None:
        fields: dict[str, Any] = {
            "user_id": USER,
            "tenant_id": TENANT,
            "role": "member",
            "invitation_id": "invited",
            "invited_at": datetime.fromtimestamp(NOW + 0.9, UTC),
        }
        with issuer.app.app_context():
            token = issuer.tokens.issue_invitation(**fields)
            issuer.now += 60
            assert issuer.tokens.issue_invitation(**fields) == token
        start = int(NOW)
        assert issuer.tokens.verify(token, "invitation") == Claims(
            *("invitation", "invited", "invited", USER, TENANT, "member", 0, start, start + 3600),
            csrf="",
        )
        assert payload(token)["nbf"] == start

    def test_no_token_outlives_the_longest_life(self) -> None:
        assert Issuer().tokens.longest_life == timedelta(seconds=86400)
        assert Issuer().tokens.refresh_seconds == 86400
        assert Issuer().tokens.impersonation_seconds == 300
        equal = Issuer(ACCESS_TOKEN_SECONDS="900", REFRESH_TOKEN_SECONDS="900")
        assert equal.tokens.longest_life == timedelta(seconds=900)

    def test_the_library_signs_as_the_platform_verifies(self, issuer: Issuer) -> None:
        app = Flask(__name__)
        issuer.tokens.init_app(app)
        config = {name: value for name, value in app.config.items() if name.startswith("JWT_")}
        assert {
            "JWT_ALGORITHM": "HS256",
            "JWT_ENCODE_AUDIENCE": "the_platform",
            "JWT_DECODE_AUDIENCE": "the_platform",
            "JWT_ENCODE_NBF": False,
            "JWT_ACCESS_TOKEN_EXPIRES": timedelta(seconds=600),
            "JWT_REFRESH_TOKEN_EXPIRES": timedelta(seconds=86400),
        }.items() <= config.items()

    def test_all_pairs_of_a_session_have_the_same_csrf_values(self, issuer: Issuer) -> None:
        first, second = issuer.pair(), issuer.pair()
        other, foreign = issuer.pair(family="another"), Issuer(JWT_SECRET_KEYS=OTHER_KEY).pair()
        values = {
            value
            for pair in (first, second, other, foreign)
            for value in (pair.access_csrf, pair.refresh_csrf)
        }
        assert len(values) == 6
        assert all(re.fullmatch("[0-9a-f]{32}", value) for value in values)
        for pair in (first, second):
            assert issuer.tokens.verify(pair.access, "access").csrf == first.access_csrf
            assert issuer.tokens.verify(pair.refresh, "refresh").csrf == first.refresh_csrf


class TestVerifying:
    @pytest.mark.parametrize("now", [1_000_000_000.0, NOW])
    def test_this_machines_clock_has_no_say(self, issuer: Issuer, now: float) -> None:
        issuer.now = now
        issuer.tokens.verify(issuer.access(), "access")

    @pytest.mark.parametrize(
        ("asked_for", "issued"),
        [("access", "refresh"), ("refresh", "access"), ("invitation", "access")],
    )
    def test_a_token_of_another_type_is_refused(
        self, issuer: Issuer, asked_for: TokenType, issued: str
    ) -> None:
        token = getattr(issuer.pair(), issued)
        for _ in range(2):  # also when it is known
            with pytest.raises(TokenInvalid, match=f"type {asked_for}"):
                issuer.tokens.verify(token, asked_for)

    def test_a_token_is_good_until_its_last_second(self, issuer: Issuer) -> None:
        token = issuer.access()
        issuer.now += 599.9
        issuer.tokens.verify(token, "access")
        issuer.now = NOW + 600
        for tokens in (issuer.tokens, Tokens(settings(), lambda: issuer.now)):
            with pytest.raises(TokenExpired):
                tokens.verify(token, "access")

    def test_a_token_is_good_from_its_beginning_whatever_the_clocks_differ_by(
        self, issuer: Issuer
    ) -> None:
        token = issuer.access()
        issuer.now = NOW - 5
        issuer.tokens.verify(token, "access")
        late = Issuer()
        late.now = NOW - 5.1
        with pytest.raises(TokenInvalid, match="not valid yet"):
            late.tokens.verify(token, "access")

    @pytest.mark.parametrize("claim", ["nbf", "iat"])
    def test_both_dates_of_its_beginning_count(self, issuer: Issuer, claim: str) -> None:
        token = forged(issuer, None, **{claim: int(NOW) + 6})
        with pytest.raises(TokenInvalid, match="not valid yet"):
            issuer.tokens.verify(token, "access")

    @pytest.mark.parametrize(
        "name", ["aud", "exp", "fam", "iat", "jti", "nbf", "role", "sub", "tenantId", "type", "ver"]
    )
    def test_a_token_without_one_of_its_claims_is_refused(self, issuer: Issuer, name: str) -> None:
        with pytest.raises(TokenInvalid):
            issuer.tokens.verify(forged(issuer, None, **{name: None}), "access")

    @pytest.mark.parametrize(
        "claims",
        [
            {"aud": "another_platform"},
            {"aud": ["the_platform"]},
            {"role": "root"},
            {"type": 1},
            {"jti": 1},
            {"fam": ["family"]},
            {"fam": "x" * 65},
            {"csrf": 1},
            {"sub": "nobody"},
            {"sub": "A" * 24},
            {"sub": "0" * 25},
            {"tenantId": "0" * 23},
            {"ver": "3"},
            {"ver": True},
            {"ver": 3.0},
            {"ver": -1},
            {"exp": 253_402_300_800},
            {"iat": "now"},
            {"nbf": "now"},
            {"act": "somebody"},
            {"act": {"sub": "0" * 24, "tenantId": "0" * 24, "fam": "f"}},
        ],
    )
    def test_a_claim_of_another_form_is_refused(
        self, issuer: Issuer, claims: dict[str, Any]
    ) -> None:
        with pytest.raises(TokenInvalid) as refused:
            issuer.tokens.verify(forged(issuer, None, **claims), "access")
        assert str(refused.value.__cause__) not in ("", "None"), "the log says what was wrong"

    @pytest.mark.parametrize(
        "claims",
        [{"fam": "x" * 64}, {"ver": 0}, {"exp": 253_402_300_799}, {"role": "operator"}],
    )
    def test_a_claim_at_its_limit_is_taken(self, issuer: Issuer, claims: dict[str, Any]) -> None:
        issuer.tokens.verify(forged(issuer, None, **claims), "access")

    def test_a_token_without_a_csrf_value_has_none(self, issuer: Issuer) -> None:
        assert issuer.tokens.verify(forged(issuer, csrf=None), "access").csrf == ""

    @pytest.mark.parametrize(
        "token",
        [
            "",
            "x",
            "a.b.c",
            jwt.encode({}, JWT_KEY, "HS256"),
            jwt.encode({}, JWT_KEY, "HS256", headers={"kid": "unknown"}),
        ],
    )
    def test_what_is_no_token_of_ours_is_refused(self, issuer: Issuer, token: str) -> None:
        with pytest.raises(TokenInvalid):
            issuer.tokens.verify(token, "access")

    def test_a_token_of_another_key_or_algorithm_is_refused(self, issuer: Issuer) -> None:
        with pytest.raises(TokenInvalid):
            issuer.tokens.verify(forged(issuer, key=OTHER_KEY), "access")
        claims, kid = payload(issuer.access()), {"kid": module._key_id(JWT_KEY)}
        for algorithm in ("HS384", "HS512"):
            token = jwt.encode(claims, JWT_KEY, algorithm, headers=kid)
            with pytest.raises(TokenInvalid):
                issuer.tokens.verify(token, "access")

    def test_the_first_key_signs_and_all_verify(self) -> None:
        before = Issuer()
        after = Issuer(JWT_SECRET_KEYS=f"{OTHER_KEY},{JWT_KEY}")
        after.tokens.verify(before.access(), "access")
        after.tokens.verify(before.pair().refresh, "refresh")
        token = after.access()
        assert jwt.get_unverified_header(token)["kid"] == module._key_id(OTHER_KEY)
        with pytest.raises(TokenInvalid):
            before.tokens.verify(token, "access")

    def test_a_token_that_is_too_long_is_not_looked_at(
        self, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        token = issuer.access()
        monkeypatch.setattr(module, "MAX_TOKEN_LENGTH", len(token))
        issuer.tokens.verify(token, "access")
        monkeypatch.setattr(module, "MAX_TOKEN_LENGTH", len(token) - 1)
        with pytest.raises(TokenInvalid):
            Tokens(settings(), lambda: NOW).verify(token, "access")

    def test_a_signature_is_verified_once(
        self, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        token, other = issuer.access(), issuer.access(role="member")
        first = issuer.tokens.verify(token, "access")
        monkeypatch.setattr(jwt, "decode", lambda *_, **__: pytest.fail("verified again"))
        assert issuer.tokens.verify(token, "access") == first
        monkeypatch.undo()
        assert issuer.tokens.verify(other, "access").role == "member"


def test_the_expiry_is_a_moment_in_utc() -> None:
    assert expiry(OPERATOR) == datetime(1970, 1, 1, 0, 0, 2, tzinfo=UTC)
