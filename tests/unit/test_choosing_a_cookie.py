"""Which of several cookies of the same name counts: a sibling host may have set one of them."""

from dataclasses import replace

import pytest
from bson import ObjectId

from multitenant.errors import TokenExpired, TokenInvalid, TokenRevoked
from multitenant.middleware.session_cookies import choose_token
from multitenant.security.tokens import Claims

OURS = Claims("access", "1", "ours", ObjectId(), ObjectId(), "member", 0, 100, 200, "our-csrf")
THEIRS = replace(OURS, id="2", family="theirs", csrf="their-csrf")
KNOWN = {
    "ours": OURS,
    "newer": replace(OURS, issued_at=101),
    "theirs": replace(THEIRS, issued_at=150),
    "withdrawn": replace(OURS, family="withdrawn", csrf="old-csrf"),
    "without": replace(THEIRS, family="without", csrf=""),
}


def verify(token: str) -> Claims:
    if token == "expired":
        raise TokenExpired
    if token not in KNOWN:
        raise TokenInvalid
    return KNOWN[token]


def ensure_acceptable(claims: Claims) -> None:
    if claims.family == "withdrawn":
        raise TokenRevoked


@pytest.mark.parametrize(
    ("tokens", "csrf", "chosen"),
    [
        ("garbage ours", "", "ours"),
        ("ours garbage", "", "ours"),
        ("garbage expired withdrawn ours", "", "ours"),
        ("ours theirs", "", "ours"),
        ("theirs ours", "", "theirs"),  # nothing tells them apart
        ("theirs ours", "our-csrf", "ours"),
        ("theirs ours", "another", "theirs"),
        ("without ours", "", "without"),
        ("without ours", "our-csrf", "ours"),
        ("withdrawn ours", "old-csrf", "ours"),
        # two of one session, the older of which was exchanged already
        ("ours newer", "", "newer"),
        ("newer ours", "", "newer"),
        ("ours theirs newer", "our-csrf", "newer"),
        # none is acceptable
        ("garbage expired", "", "expired"),
        ("garbage expired withdrawn", "", "withdrawn"),
        ("garbage other", "", "garbage"),
    ],
)
def test_the_first_acceptable_one_counts_unless_the_csrf_value_belongs_to_another(
    tokens: str, csrf: str, chosen: str
) -> None:
    assert choose_token(tokens.split(), verify, ensure_acceptable, csrf) == chosen
