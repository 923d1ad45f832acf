"""Looks for secrets in all that the tests get to see, from the first test to the last: what is
logged, answered and printed, and what the admin databases hold in the end.

What a secret is: what looks like a hash, a token or a URI with a password; the keys; every
password that was sent in a request or given to a user of MongoDB. Where it was found stands in
`leaks`, without the secret, and fails the test that was running (`conftest.py`). `/metrics` is an
answer like others and needs nothing of its own.
"""

import logging
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import click.testing
import flask.testing
import httpx
import orjson
import pytest
from bson import json_util
from pymongo.database import Database
from pythonjsonlogger.orjson import OrjsonFormatter
from werkzeug.test import TestResponse

import multitenant
from tests.support import CREDENTIAL_KEY, JWT_KEY, OPERATOR_PASSWORD, PASSWORD

SHAPES = {
    "a hash": re.compile(r"\$2[aby]\$\d\d\$[./A-Za-z0-9]{20}"),
    "a token": re.compile(r"eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{16}"),
    "a URI with a password": re.compile(
        r"mongodb(?:\+srv)?://(?!user:password@)[^\s/@:]+:[^\s/@]+@"
    ),
}
PASSWORD_FIELDS = ("password", "currentPassword", "newPassword")
# Where tokens belong, and nowhere else: method, path, and the fields of the answer.
TOKENS_ANSWERED = {
    r"POST /api/(login|refresh)": ("accessToken", "refreshToken"),
    r"POST /api/(add|tenants|users|users/\w+/invitation)": ("invitationToken",),
    r"POST /api/tenants/\w+/impersonate": ("accessToken",),
}
TOKENS_IN_COOKIES = r"POST /api/(login|refresh)"
# The commands that print the token of an invitation.
TOKENS_PRINTED = ("tenants", "add")
# `multitenant init` tells the password that it made for the first operator, once.
TOLD_ONCE = re.compile(r"^.*Their password is \S+ \(kept in \S+\)$", re.MULTILINE)
# It has examples of passwords, which tests try.
DOCUMENT = "/openapi.json"
MIN_PASSWORD = 8


class SecretsWatch:
    """What is known to be secret, and where it was seen all the same."""

    def __init__(self) -> None:
        self.leaks: list[str] = []
        self.looked_at: Counter[str] = Counter()
        """How much was looked at, by where it came from."""
        self._known = {
            JWT_KEY: "a signing key",
            CREDENTIAL_KEY: "a credential key",
            PASSWORD: "a password",
            OPERATOR_PASSWORD: "the operator's password",
        }
        self._spared: set[str] = set()
        self._formatter = OrjsonFormatter()

    def take(self) -> list[str]:
        """What was found since this was asked last."""
        leaks, self.leaks = self.leaks, []
        return leaks

    def know(self, secret: object, what: str) -> None:
        """Look for this from now on, unless it is too plain, or what our own program says: in tests
        passwords are often words."""
        if not isinstance(secret, str) or secret in self._spared or secret in self._known:
            return
        if len(secret) >= MIN_PASSWORD and len(set(secret)) > 4 and secret not in own_words():
            self._known[secret] = what

    def spare(self, *texts: str) -> None:
        """Never take these for secrets, wherever they are sent."""
        self._spared.update(texts)

    def look(self, source: str, where: str, text: str, *, shapes_only: bool = False) -> None:
        """Note what there is of secrets in the text."""
        self.looked_at[source] += 1
        for what, shape in SHAPES.items():
            if shape.search(text):
                self.leaks.append(f"{what} in {source}: {where}")
        if not shapes_only:
            for secret in list(self._known):
                if secret in text:
                    self.leaks.append(f"{self._known[secret]} in {source}: {where}")

    def saw_request(self, body: Any) -> None:
        """Learn the passwords of a request's body."""
        if isinstance(body, dict):
            for field in PASSWORD_FIELDS:
                self.know(body.get(field), "a password")

    def saw_answer(
        self, method: str, path: str, status: int, headers: list[tuple[str, str]], body: str
    ) -> None:
        """Look at an answer. Tokens may be where they belong, if nobody keeps the answer."""
        where = f"{method} {path} ({status})"
        if status < 300:
            kept, body = body, _without_tokens(f"{method} {path}", body)
            stored = ("Cache-Control", "no-store") in headers
            if kept != body and not stored:
                self.leaks.append(f"a token in an answer that may be stored: {where}")
            if re.fullmatch(TOKENS_IN_COOKIES, f"{method} {path}"):
                headers = [header for header in headers if header[0] != "Set-Cookie"]
        self.look("an answer", where, f"{headers} {body}", shapes_only=path == DOCUMENT)

    def saw_record(self, record: logging.LogRecord) -> None:
        """Look at a log record, with all that belongs to it; what tests log is their own affair."""
        if record.name.startswith("tests."):
            return
        where = f"{record.name}, {record.pathname}:{record.lineno}"
        self.look("a log record", where, self._formatter.format(record))

    def saw_output(self, command: str, output: str) -> None:
        """Look at what a process has put out."""
        self.look("what a process printed", command, TOLD_ONCE.sub("", output))

    def saw_command(self, args: list[str], output: str) -> None:
        """Look at what one of our commands, run in this process, has put out."""
        if tuple(args[:2]) == TOKENS_PRINTED:
            output = SHAPES["a token"].sub("", output)
        self.saw_output(" ".join(args), output)

    def saw_database(self, db: Database[dict[str, Any]]) -> None:
        """Look at all that a database holds."""
        for name in db.list_collection_names():
            for document in db[name].find():
                self.look("a database", f"{db.name}.{name}", json_util.dumps(document))


@cache
def own_words() -> str:
    """All text of the program, its strings joined as Python joins them."""
    files = Path(multitenant.__file__).parent.rglob("*.py")
    return re.sub(r'[\s"]+', " ", " ".join(file.read_text() for file in files))


def _without_tokens(route: str, body: str) -> str:
    for pattern, fields in TOKENS_ANSWERED.items():
        if re.fullmatch(pattern, route):
            answer = orjson.loads(body)
            for field in fields:
                answer["responseObject"].pop(field, None)
            return orjson.dumps(answer).decode()
    return body


WATCH = SecretsWatch()
"""That of this process."""


@contextmanager
def watching() -> Iterator[None]:
    """Let WATCH see every log record, request, answer and command of this process."""
    call_handlers = logging.Logger.callHandlers
    open_in_process = flask.testing.FlaskClient.open
    send = httpx.Client.send
    invoke = click.testing.CliRunner.invoke
    command = Database.command

    def see_record(self: logging.Logger, record: logging.LogRecord) -> None:
        WATCH.saw_record(record)
        call_handlers(self, record)

    def see_answer(self: Any, *args: Any, **kwargs: Any) -> TestResponse:
        WATCH.saw_request(kwargs.get("json"))
        response = open_in_process(self, *args, **kwargs)
        request = response.request
        headers = list(response.headers.items())
        WATCH.saw_answer(request.method, request.path, response.status_code, headers, response.text)
        return response

    def see_http(self: Any, request: httpx.Request, **kwargs: Any) -> httpx.Response:
        if isinstance(request.stream, httpx.ByteStream):
            with suppress(orjson.JSONDecodeError):
                WATCH.saw_request(orjson.loads(request.read()))
        response = send(self, request, **kwargs)
        if not kwargs.get("stream"):
            headers = [(name.title(), value) for name, value in response.headers.multi_items()]
            status, text = response.status_code, response.text
            WATCH.saw_answer(request.method, request.url.path, status, headers, text)
        return response

    def see_command(self: Any, cli: Any, args: Any = None, **kwargs: Any) -> click.testing.Result:
        result = invoke(self, cli, args, **kwargs)
        WATCH.saw_command([str(arg) for arg in args or ()], result.output)
        return result

    def see_user(self: Any, name: Any, *args: Any, **kwargs: Any) -> Any:
        given = name if isinstance(name, Mapping) else {name: None, **kwargs}
        if "createUser" in given or "updateUser" in given:
            WATCH.know(given.get("pwd"), "a database user's password")
        return command(self, name, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(logging.Logger, "callHandlers", see_record)
        patched.setattr(flask.testing.FlaskClient, "open", see_answer)
        patched.setattr(httpx.Client, "send", see_http)
        patched.setattr(click.testing.CliRunner, "invoke", see_command)
        patched.setattr(Database, "command", see_user)
        yield
