"""Token confusion: whatever is not exactly a token of this platform, of the right kind, for this
route, is refused with 401 or 403, and nothing of it is believed.

`tests/integration/test_resolver.py` has the plain forgeries (signature, `none`, foreign key);
these are the ones that a library or a shortcut would let through.
"""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest

from multitenant.security.tokens import CLAIMS
from tests.conftest import MakeWorld
from tests.integration.test_impersonation import acting_as
from tests.support import JWT_KEY, PASSWORD, User, World, answer, refusal

Change = Callable[[dict[str, Any]], Any]
ME = "/api/users/me"
NOW = int(time.time())


def part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def parts(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    return jwt.get_unverified_header(token), jwt.decode(token, options={"verify_signature": False})


def sign(header: Any, claims: Any, key: str = JWT_KEY, digest: Any = hashlib.sha256) -> str:
    """A token with a genuine signature, whatever it says: no library is in the way."""
    signed = f"{part(header)}.{part(claims)}"
    signature = hmac.new(key.encode(), signed.encode(), digest).digest()
    return f"{signed}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def send(world: World, token: str, path: str = ME, method: str = "GET") -> Any:
    return world.client.open(path, method=method, headers={"Authorization": f"Bearer {token}"})


HEADERS: dict[str, dict[str, Any]] = {
    "alg in lower case": {"alg": "hs256"},
    "alg none": {"alg": "none"},
    "alg None": {"alg": "None"},
    "alg nOnE": {"alg": "nOnE"},
    "alg HS512": {"alg": "HS512"},
    "alg RS256, the key as a public one": {"alg": "RS256"},
    "alg ES256": {"alg": "ES256"},
    "alg EdDSA": {"alg": "EdDSA"},
    "alg as a list": {"alg": ["HS256"]},
    "alg as null": {"alg": None},
    "alg left out": {"alg": ...},
    "kid unknown": {"kid": "0" * 16},
    "kid left out": {"kid": ...},
    "kid empty": {"kid": ""},
    "kid null": {"kid": None},
    "kid as a list": {"kid": ["a"]},
    "kid as a number": {"kid": 0},
    "kid as an object": {"kid": {"$ne": None}},
    "kid that is a path": {"kid": "../../../../dev/null"},
    "kid that is a query": {"kid": "' UNION SELECT 'key"},
    "kid too long": {"kid": "a" * 2000},
    "an own key": {"jwk": {"kty": "oct", "k": "YXR0YWNrZXI"}, "kid": "attacker"},
    "a key elsewhere": {"jku": "https://evil.example/keys.json", "kid": "attacker"},
    "a certificate elsewhere": {"x5u": "https://evil.example/cert.pem", "kid": "attacker"},
    "an extension that must be understood": {"crit": ["exp2"], "exp2": 1},
    "an encrypted token": {"alg": "dir", "enc": "A256GCM"},
}


@pytest.mark.parametrize("what", HEADERS)
def test_a_header_that_says_something_else_is_refused(shared: World, acme: User, what: str) -> None:
    """Also when the signature is genuine."""
    header, claims = parts(acme.access)
    changed = {**header, **HEADERS[what]}
    changed = {name: value for name, value in changed.items() if value is not ...}
    digest = hashlib.sha512 if changed.get("alg") == "HS512" else hashlib.sha256
    for token in (sign(changed, claims, digest=digest), f"{part(changed)}.{part(claims)}."):
        refusal(send(shared, token), 401, "token_invalid")


WRONG: list[Any] = [None, "", "x", [], ["a"], {}, {"$ne": None}, 1.5, -1, 2**70, True, "\x00"]
FINE: list[tuple[str, Any]] = [
    *(("fam", text) for text in ("", "x", "\x00")),  # any text: it is only compared
    *(("jti", text) for text in ("", "x", "\x00")),
    ("nbf", -1),  # since long ago
    ("nbf", True),
    ("nbf", 1.5),
]


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_claim_that_is_missing_or_of_another_type_is_refused(
    shared: World, acme: User, claim: str
) -> None:
    """Only whoever has a key can sign this; there is no harm in a second lock."""
    header, claims = parts(acme.access)
    without = {name: value for name, value in claims.items() if name != claim}
    refusal(send(shared, sign(header, without)), 401, "token_invalid")
    for value in (*WRONG, float("inf"), float("nan")):
        if (claim, value) not in FINE:
            response = send(shared, sign(header, {**claims, claim: value}))
            assert response.status_code == 401, (value, response.text)


OTHERS: dict[str, Change] = {
    "meant for another platform": lambda _: {"aud": "another_admin"},
    "meant for several": lambda claims: {"aud": [claims["aud"], "another_admin"]},
    "expired": lambda _: {"exp": NOW - 1},
    "never expiring": lambda _: {"exp": 10**15},
    "not yet valid": lambda _: {"nbf": NOW + 3600},
    "issued in the future": lambda _: {"iat": NOW + 3600},
    "of a role that is several": lambda _: {"role": ["owner", "operator"]},
    "of an operator who is none": lambda _: {"role": "operator"},
    "of an unknown type": lambda _: {"type": "id"},
    "of a type in capitals": lambda _: {"type": "ACCESS"},
    "of an operator who is nobody": lambda _: {"act": {"sub": "x"}},
    "of an operator who is a text": lambda _: {"act": "operator"},
    "of no operator": lambda _: {"act": {}},
    "with a CSRF value that is none": lambda _: {"csrf": {"$ne": None}},
    "with an id in capitals": lambda claims: {"sub": claims["sub"].upper() + "A"},
}


@pytest.mark.parametrize("what", OTHERS)
def test_a_token_of_something_else_is_refused(shared: World, acme: User, what: str) -> None:
    header, claims = parts(acme.access)
    response = send(shared, sign(header, {**claims, **OTHERS[what](claims)}))
    code = "token_expired" if what == "expired" else "token_invalid"
    refusal(response, 401, code)


def test_another_tenants_ids_in_a_token_do_not_fit_its_signature(
    shared: World, acme: User, globex: User
) -> None:
    head, _, signature = acme.access.split(".")
    claims = parts(acme.access)[1]
    for change in ({"tenantId": globex.tenant_id}, {"sub": globex.user_id}, {"role": "operator"}):
        token = f"{head}.{part({**claims, **change})}.{signature}"
        refusal(send(shared, token), 401, "token_invalid")


def test_a_user_of_one_tenant_is_nobody_in_another(shared: World, acme: User, globex: User) -> None:
    """Nobody can sign this without a key; and it opens no account."""
    header, claims = parts(acme.access)
    stranger = sign(header, {**claims, "sub": globex.user_id})
    assert send(shared, stranger).status_code in (401, 404)


def test_a_token_of_another_environment_is_refused(
    make_world: MakeWorld, shared: World, acme: User
) -> None:
    """With another key, under our key's id, and where somebody has copied our key."""
    token = acme.access
    header, claims = parts(token)
    theirs = "the-key-of-staging-the-key-of-staging-0123456789"
    refusal(send(shared, sign(header, claims, key=theirs)), 401, "token_invalid")
    staging = make_world()
    assert staging.platform.settings.jwt_secret_keys == shared.platform.settings.jwt_secret_keys
    owner = staging.tenant("Acme")
    assert send(staging, owner.access).status_code == 200
    refusal(send(shared, owner.access), 401, "token_invalid")
    refusal(send(staging, token), 401, "token_invalid")


def test_each_kind_of_token_opens_its_own_doors_only(world: World) -> None:
    owner = world.tenant("Acme")
    invited = answer(owner.post("/api/users", {"email": "ben@acme.example"}))
    assistant = acting_as(world, owner)
    tokens = {
        "access": owner.access,
        "refresh": owner.refresh,
        "invitation": invited["invitationToken"],
        "impersonation": assistant.access,
    }

    def opens(token: str) -> dict[str, str | int]:
        accept = {"token": token, "password": "this is refused"}
        responses = {
            "a tenant's route": send(world, token),
            "an operator's": send(world, token, "/api/tenants"),
            "refreshing": send(world, token, "/api/refresh", "POST"),
            "accepting": world.client.post("/api/invitations/accept", json=accept),
        }
        return {
            where: "yes" if response.status_code == 200 else answer(response)["code"]
            for where, response in responses.items()
        }

    no, role = "token_invalid", "role_required"
    closed = dict.fromkeys(("a tenant's route", "an operator's", "refreshing", "accepting"), no)
    expected = {
        "access": {**closed, "a tenant's route": "yes", "an operator's": role},
        "refresh": {**closed, "refreshing": "yes"},
        "invitation": {**closed, "accepting": "yes"},
        "impersonation": {**closed, "a tenant's route": "yes", "an operator's": role},
    }
    assert {kind: opens(token) for kind, token in tokens.items()} == expected
    change = {"currentPassword": PASSWORD, "newPassword": "the assistant's own"}
    refusal(assistant.put("/api/users/me/password", change), 403, "role_required")


@pytest.mark.parametrize("size", [4097, 8000, 60_000, 900_000])
def test_a_huge_token_is_refused_before_it_is_read(shared: World, size: int) -> None:
    for token in ("a" * size, f"{'a' * size}.e30.", sign({"alg": "HS256", "x": "a" * size}, {})):
        refusal(send(shared, token), 401, "token_invalid")


def test_two_tokens_are_never_mixed(shared: World, acme: User, globex: User) -> None:
    """The first place that has one decides, also when what it has is bad."""

    def asked(headers: list[tuple[str, str]], cookie: str | None = None) -> Any:
        browser = shared.app.test_client()
        if cookie:
            browser.set_cookie("access_token_cookie", cookie)
        return browser.get(ME, headers=headers)

    def who(response: Any) -> str:
        return str(answer(response)["id"])

    bearer, foreign = ("Authorization", f"Bearer {acme.access}"), ("jwt", globex.access)
    assert who(asked([bearer, foreign], globex.access)) == acme.user_id
    assert who(asked([("jwt", acme.access)], globex.access)) == acme.user_id
    bad = ("Authorization", "Bearer x")
    refusal(asked([bad, ("jwt", acme.access)], acme.access), 401, "token_invalid")
    refusal(asked([("jwt", "x")], acme.access), 401, "token_invalid")
    twice = f"Bearer {acme.access},Bearer {globex.access}"  # as WSGI joins two headers
    refusal(asked([("Authorization", twice)]), 401, "token_invalid")
    refusal(asked([("jwt", f"{acme.access},{globex.access}")]), 401, "token_invalid")
    # Two cookies of one name: one of them counts, whole.
    cookies = f"access_token_cookie={acme.access}; access_token_cookie={globex.access}"
    response = shared.client.get(ME, headers={"Cookie": cookies})
    assert who(response) == acme.user_id


def test_no_header_makes_a_cookie_go_without_its_csrf_value(
    shared: World, acme: User, globex: User
) -> None:
    foreign = parts(globex.access)[1]["csrf"]
    for headers in (
        {},
        {"Authorization": ""},
        {"jwt": " "},
        {"X-CSRF-TOKEN": ""},
        {"X-CSRF-TOKEN": foreign},
        {"X-CSRF-TOKEN": "é"},
        {"X-CSRF-TOKEN": foreign, "Cookie": f"csrf_access_token={foreign}"},
        {"X-HTTP-Method-Override": "GET"},
    ):
        cookie = f"access_token_cookie={acme.access}; {headers.pop('Cookie', '')}"
        response = shared.client.post(
            "/api/to-do-list", json={"title": "x"}, headers={"Cookie": cookie, **headers}
        )
        refusal(response, 403, "csrf_failed")
