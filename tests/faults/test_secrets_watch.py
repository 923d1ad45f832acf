"""The watch for secrets sees what it is there to see, wherever one comes to light."""

import logging
import sys
from pathlib import Path

import click
import httpx
import pytest
from click.testing import CliRunner
from flask import Response

from multitenant.middleware import security_headers
from multitenant.middleware.access import public
from multitenant.security.passwords import PasswordHasher
from tests.e2e.server import Server
from tests.integration.test_dedicated import user_of
from tests.secrets_watch import WATCH
from tests.support import CREDENTIAL_KEY, JWT_KEY, PASSWORD, World, answer

logger = logging.getLogger("multitenant.careless")
HASH = PasswordHasher(rounds=4, parallel=1, waiting=1).hash("whatever it was")


def found() -> set[str]:
    """What came to light, without where."""
    return {leak.partition(":")[0] for leak in WATCH.take()}


@pytest.mark.parametrize(
    ("secret", "what"),
    [
        (PASSWORD, "a password"),
        (HASH, "a hash"),
        (JWT_KEY, "a signing key"),
        (CREDENTIAL_KEY, "a credential key"),
        ("mongodb://acme:s3cret@db.example.com/", "a URI with a password"),
        ("mongodb+srv://acme:s3cret@db.example.com", "a URI with a password"),
    ],
    ids=["password", "hash", "signing key", "credential key", "URI", "SRV URI"],
)
def test_every_kind_of_secret_is_found_in_the_log(secret: str, what: str) -> None:
    logger.warning("Working on %s", secret)
    assert found() == {f"{what} in a log record"}
    logger.warning("request", extra={"path": f"/api/{secret}"})
    assert found() == {f"{what} in a log record"}
    try:
        raise RuntimeError(secret)
    except RuntimeError:
        logger.exception("Unexpected")
    assert found() == {f"{what} in a log record"}


def test_what_is_no_secret_is_not_taken_for_one() -> None:
    logger.warning("mongodb://db.example.com/ mongodb://user:password@host1,host2/ $2b$ eyJ.eyJ")
    assert found() == set()


def test_a_password_that_was_sent_is_known_from_then_on(world: World) -> None:
    sent = "one that nobody has used"
    logger.warning(sent)
    assert found() == set()
    body = {"email": "nobody@acme.example", "password": sent}
    assert world.client.post("/api/login", json=body).status_code == 401
    logger.warning(sent)
    assert found() == {"a password in a log record"}


def test_a_password_of_words_that_the_program_says_itself_is_not_looked_for() -> None:
    """It could not be told from them."""
    for said in ("another password", "This route does not take this method"):
        WATCH.know(said, "a password")
        logger.warning(said)
    assert found() == set()


def test_so_is_the_password_of_a_database_user(world: World) -> None:
    owner = world.tenant("Acme", isolation="dedicated")
    logger.warning(user_of(world, owner).password)
    assert found() == {"a database user's password in a log record"}


def test_tokens_are_found_where_they_do_not_belong(world: World) -> None:
    owner = world.tenant("Acme")
    assert found() == set(), "a login may answer them"
    owner.post("/api/posts", {"title": "x", "content": owner.access})
    assert found() == {"a token in an answer"}
    owner.put("/api/settings/x", {"value": owner.refresh})
    assert found() == {"a token in an answer"}
    world.app._got_first_request = False
    cookie = {"Set-Cookie": f"access_token_cookie={owner.access}"}
    world.app.add_url_rule("/x", view_func=public(lambda: Response("{}", headers=cookie)))
    world.client.get("/x")
    assert found() == {"a token in an answer"}


def test_tokens_are_answered_only_where_nobody_keeps_the_answer(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(security_headers.HEADERS, "Cache-Control", "public")
    world.tenant("Acme")
    world.add(name="Globex", email="invited@globex.example")
    stored = "a token in an answer that may be stored: POST /api/"
    assert {leak.partition(" (")[0] for leak in WATCH.take()} == {f"{stored}login", f"{stored}add"}


def test_an_answer_over_http_is_looked_at() -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(500, text=f"{HASH} is wrong"))
    with httpx.Client(transport=transport) as client:
        client.get("http://acme.example/metrics")
    assert found() == {"a hash in an answer"}


def test_what_a_command_prints_is_looked_at() -> None:
    CliRunner().invoke(click.Command("careless", callback=lambda: click.echo(HASH)))
    assert found() == {"a hash in what a process printed"}


def test_what_a_server_prints_is_looked_at(tmp_path: Path) -> None:
    with Server((sys.executable, "-c", f"print({HASH!r})"), {}, tmp_path) as server:
        server.process.wait()
    assert found() == {"a hash in what a process printed"}


def test_what_the_admin_database_holds_is_looked_at(world: World) -> None:
    owner = world.tenant("Acme")
    world.admin_db["audit"].insert_one({"details": {"body": {"password": PASSWORD}}})
    world.admin_db["tenants"].update_one({"name": "Acme"}, {"$set": {"lastToken": owner.access}})
    WATCH.saw_database(world.admin_db)
    where = f"in a database: {world.admin_db.name}"
    assert set(WATCH.take()) == {f"a password {where}.audit", f"a token {where}.tenants"}
    world.admin_db["audit"].delete_many({})
    world.admin_db["tenants"].update_one({"name": "Acme"}, {"$unset": {"lastToken": ""}})


def test_what_is_answered_where_it_belongs_is_no_leak(world: World) -> None:
    """Every token that the API gives out, in the one answer that is there for it."""
    owner = world.tenant("Acme")
    invited = answer(owner.post("/api/users", {"email": "ben@acme.example"}))
    owner.post(f"/api/users/{invited['id']}/invitation")
    world.client.post("/api/refresh", headers={"jwt": owner.refresh})
    reason = {"userId": owner.user_id, "reason": "to see"}
    world.operator.post(f"/api/tenants/{owner.tenant_id}/impersonate", reason)
    cookies = {"email": "owner@acme.example", "password": PASSWORD, "useCookies": True}
    assert world.client.post("/api/login", json=cookies).headers.getlist("Set-Cookie")
    assert found() == set()
    assert WATCH.looked_at["an answer"] > 5
