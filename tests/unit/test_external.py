"""Which `dbUri`s are taken, before anything is connected to."""

import pytest

from multitenant.errors import ValidationFailed
from multitenant.tenancy.deployments.external import check_uri

ALLOWED = ("db.example.com", "*.hosts.example", "one.example:27018", "127.0.0.1:4000")


@pytest.mark.parametrize(
    ("uri", "database"),
    [
        ("mongodb://u:p@db.example.com", None),
        ("mongodb://u:p@DB.example.com/", None),
        ("mongodb://u:p@db.example.com:27099/acme", "acme"),
        ("mongodb://u:p%40%2F@a.hosts.example,b.hosts.example/acme?replicaSet=rs0", "acme"),
        ("mongodb://u:p@one.example:27018/?authSource=admin&tls=true", None),
        ("mongodb://u:p@127.0.0.1:4000/?authMechanism=SCRAM-SHA-256", None),
    ],
)
def test_a_uri_with_user_password_and_allowed_hosts_is_taken(
    uri: str, database: str | None
) -> None:
    assert check_uri(uri, ALLOWED) == database


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("http://u:p@db.example.com", "begin with"),
        ("file:///etc/passwd", "begin with"),
        ("mongodb", "begin with"),
        ("mongodb://[::1", "not a MongoDB URI"),
        ("mongodb://u:p@", "not a MongoDB URI"),
        # what parsers understand differently
        ("mongodb://u:p@db.example.com/db?w=1;tlsInsecure=true", "must be written"),
        ("mongodb://u:p@db.example.com/db?w=1;authMechanism=MONGODB-AWS", "must be written"),
        ("mongodb://u:p@db.example.com/db#?tlsInsecure=true", "must be written"),
        ("mongodb://db.example.com#:p@evil.internal:1234/db", "must be written"),
        ("mongodb://u:p@db.example.com\\@evil.internal/db", "must be written"),
        ("mongodb://u:p@db.example.com/db\n", "must be written"),
        ("mongodb+srv://db.example.com@evil.internal/", "does not list"),
        ("mongodb+srv://u:p@evil.internal?x=@db.example.com", "does not list"),
        ("mongodb://u:p@elsewhere.example", "does not list"),
        ("mongodb://u:p@127.0.0.1", "does not list"),
        ("mongodb://u:p@127.0.0.1:4001", "does not list"),
        ("mongodb://u:p@one.example", "does not list"),
        ("mongodb://u:p@hosts.example", "does not list"),
        ("mongodb://u:p@evilhosts.example", "does not list"),
        ("mongodb://u:p@db.example.com.evil.example", "does not list"),
        ("mongodb://u:p@db.example.com,elsewhere.example", "does not list"),
        ("mongodb://u:p@db.example.com@elsewhere.example", "not a MongoDB URI"),
        ("mongodb://u:p@%2Ftmp%2Fmongodb-27017.sock", "does not list"),
        ("mongodb://u:p@[fe80::1]", "does not list"),
        ("mongodb+srv://u:p@elsewhere.example", "does not list"),
        ("mongodb://db.example.com", "user and a password"),
        ("mongodb://u@db.example.com", "user and a password"),
        ("mongodb://u:p@db.example.com/admin", "MongoDB's own"),
        ("mongodb://u:p@db.example.com/local", "MongoDB's own"),
        ("mongodb://u:p@db.example.com/a.b", "no collection"),
        ("mongodb://u:p@db.example.com/" + "x" * 64, "1 to 63"),
        ("mongodb://u:p@db.example.com/a%00b", "1 to 63"),
        ("mongodb://u:p@db.example.com/a%5Cb", "1 to 63"),
        ("mongodb://u:p@db.example.com/?w=0", "option"),
        ("mongodb://u:p@127.0.0.1:4000%2C%2Ftmp%2Fx.sock/db", "does not list|not a MongoDB"),
        ("mongodb://u:p@db.example.com/?tlsCAFile=/etc/passwd", "option"),
        ("mongodb://u:p@db.example.com/?tlsInsecure=true", "option"),
        ("mongodb://u:p@db.example.com/?directConnection=true", "option"),
        ("mongodb://u:p@db.example.com/?authMechanism=MONGODB-AWS", "authMechanism"),
        ("mongodb://u:p@db.example.com/?AuthMechanism=PLAIN", "authMechanism"),
        ("mongodb://u:p@db.example.com:99999", "not a MongoDB URI"),
    ],
)
def test_any_other_is_refused_with_the_reason_and_without_being_repeated(
    uri: str, reason: str
) -> None:
    with pytest.raises(ValidationFailed, match=reason) as refused:
        check_uri(uri, ALLOWED)
    assert refused.value.incorrect_field == "dbUri"
    assert "u:p" not in str(refused.value.errors) + str(refused.value)


def test_without_allowed_hosts_none_is_taken() -> None:
    with pytest.raises(ValidationFailed, match="TENANT_URI_ALLOWED_HOSTS"):
        check_uri("mongodb://u:p@db.example.com", ())
