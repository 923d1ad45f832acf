"""The application as attackers see it: every route of the OpenAPI document, who may call it, and
every place in it that takes a value."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from bson import ObjectId
from pymongo.monitoring import CommandFailedEvent, CommandSucceededEvent
from werkzeug.test import TestResponse

from multitenant.schemas import admin, tenant
from tests.contract import contract
from tests.integration.test_bad_input import VALID_BODIES
from tests.integration.test_cross_tenant import make
from tests.support import User, World

WRITES = {
    *("insert", "update", "delete", "findAndModify", "bulkWrite", "create", "createIndexes"),
    *("drop", "dropDatabase", "createUser", "updateUser", "dropUser", "renameCollection"),
}
# What a refusal is noted in (it is counted, and it is told), and what each process tells of itself.
NOTED_IN = {"audit", "ratelimits", "ratelimitcounters", "processes"}
OPERATORS_PATHS = ("/api/add", "/api/tenants", "/api/audit", "/api/connections", "/api/usage")
BodyPath = tuple[str | int, ...]


@dataclass(frozen=True)
class Route:
    """One operation of the document."""

    method: str
    path: str

    @property
    def operation(self) -> dict[str, Any]:
        """What the document says of it."""
        found: dict[str, Any] = contract().document["paths"][self.path][self.method.lower()]
        return found

    @property
    def rule(self) -> str:
        """The path as Flask writes it."""
        return re.sub(r"{(\w+)}", r"<\1>", self.path)

    @property
    def public(self) -> bool:
        """Whether it takes no token."""
        return not self.operation["security"]

    @property
    def for_operators(self) -> bool:
        """Whether it is for operators alone."""
        return self.path.startswith(OPERATORS_PATHS)

    def parameters(self, place: str) -> list[str]:
        """The names of the parameters in the `path`, `query` or `header`."""
        parameters = self.operation.get("parameters", [])
        return [parameter["name"] for parameter in parameters if parameter["in"] == place]

    @property
    def schema(self) -> dict[str, Any] | None:
        """The schema of its body."""
        body = self.operation.get("requestBody")
        found: dict[str, Any] | None = body and body["content"]["application/json"]["schema"]
        return found

    def strings(self, pattern: str | None = None) -> list[BodyPath]:
        """Where its body may have a string (of that pattern), nested ones included."""
        return [] if self.schema is None else list(_strings(self.schema, (), pattern))

    def objects(self) -> list[BodyPath]:
        """Where its body has an object with fields of its own, itself included."""
        return [] if self.schema is None else list(_objects(self.schema, ()))

    def fields(self, place: BodyPath) -> set[str]:
        """The fields that the object there has."""
        schemas = [self.schema or {}]
        for step in place:
            schemas = [
                inner
                for schema in schemas
                for resolved in _resolved(schema)
                for inner, path in _inner(resolved, ())
                if path == (step,)
            ]
        return {
            name
            for schema in schemas
            for resolved in _resolved(schema)
            for name in resolved.get("properties", {})
        }

    def body(self) -> dict[str, Any] | None:
        """A body that it takes, with something else each time where two must not be alike."""
        valid = VALID_BODIES.get((self.method, self.rule))
        if valid is None:
            return None
        body = {**valid}
        if self.path in ("/api/add", "/api/tenants"):
            body = {"name": f"T{ObjectId()}x", "email": valid["email"], "password": "not a secret"}
        if "email" in body and not self.public:
            body["email"] = f"{ObjectId()}{body['email']}"
        return body

    def filled(self, ids: list[str]) -> str:
        """Its path with these ids."""
        rest = iter(ids)
        return re.sub(r"{\w+}", lambda _: next(rest), self.path)

    def unknown(self) -> str:
        """Its path with ids of nothing."""
        return self.filled([str(ObjectId()) for _ in self.parameters("path")])

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@cache
def every_route() -> list[Route]:
    """All of the document, those that end a session last."""
    routes = [
        Route(method.upper(), path)
        for path, operations in contract().document["paths"].items()
        for method in operations
    ]
    return sorted(routes, key=lambda route: (route.path == "/api/logout", route.path))


def _resolved(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What the schema may stand for, without references."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        yield from _resolved(contract().document["components"]["schemas"][name])
        return
    for choice in schema.get("anyOf", [schema]):
        yield from _resolved(choice) if choice is not schema else [choice]


def _strings(schema: dict[str, Any], path: BodyPath, pattern: str | None) -> Iterator[BodyPath]:
    for resolved in _resolved(schema):
        is_text = resolved.get("type", "string") == "string"  # without a type: any JSON
        if is_text and pattern in (None, resolved.get("pattern")):
            yield path
        for inner, where in _inner(resolved, path):
            yield from _strings(inner, where, pattern)


def _objects(schema: dict[str, Any], path: BodyPath) -> Iterator[BodyPath]:
    for resolved in _resolved(schema):
        if resolved.get("type") == "object":
            yield path
        for inner, where in _inner(resolved, path):
            yield from _objects(inner, where)


def _inner(schema: dict[str, Any], path: BodyPath) -> Iterator[tuple[dict[str, Any], BodyPath]]:
    for name, inner in schema.get("properties", {}).items():
        yield inner, (*path, name)
    if schema.get("type") == "array":
        yield schema["items"], (*path, 0)


def with_value(body: Any, path: BodyPath, value: Any) -> Any:
    """The body with this value at that place, which is made if it is not there."""
    if not path:
        return value
    step, *rest = path
    if isinstance(step, int):
        return [with_value(body[0] if body else None, tuple(rest), value)]
    body = body or {}
    return {**body, step: with_value(body.get(step), tuple(rest), value)}


def value_at(body: Any, path: BodyPath) -> Any:
    """What an answer has at that place; None where it has nothing."""
    for step in path:
        try:
            body = body[step]
        except (LookupError, TypeError):
            return None
    return body


def reach(route: Route, user: User, tenant_id: str) -> str:
    """The route's path with ids of things that are there: a tenant for operators, else what the
    user makes for it."""
    if not route.parameters("path"):
        return route.path
    if route.for_operators:
        return route.filled([tenant_id])
    return route.filled(make(user, route.rule))


class Sender:
    """Sends a user's requests, or nobody's, and fails when one is answered with a 5xx, or is
    refused and has written something all the same."""

    def __init__(self, world: World, user: User | None) -> None:
        self._world = world
        self._user = user

    def __call__(self, route: Route, path: str, **kwargs: Any) -> TestResponse:
        recorder = self._world.recorder
        before, found_nothing = len(recorder.commands), []

        def note(event: CommandSucceededEvent | CommandFailedEvent) -> None:
            if isinstance(event, CommandSucceededEvent) and event.reply.get("value", ...) is None:
                found_nothing.append(event.command_name)

        recorder.on_end = note
        try:
            sender = self._user.send if self._user else self._anonymous
            response = sender(route.method, path, **kwargs)
        finally:
            recorder.on_end = lambda _: None
        what = f"{route} with {kwargs}: {response.status_code} {response.text}"
        assert response.status_code < 500, what
        if response.status_code >= 400:
            changes = _written(recorder.commands[before:])
            for command in found_nothing:
                if command in changes:
                    changes.remove(command)
            assert not changes, f"{what}, and {changes}"
        return response

    def _anonymous(self, method: str, path: str, json: Any = None, **kwargs: Any) -> TestResponse:
        return self._world.client.open(path, method=method, json=json, **kwargs)


def _written(sent: Sequence[tuple[str, str, Mapping[str, Any]]]) -> list[str]:
    """Which of these commands write, but for notes, and for what a transaction without a commit
    has taken back."""
    committed = any(name == "commitTransaction" for _, name, _ in sent)
    return [
        name
        for _, name, command in sent
        if name in WRITES
        and command.get(name) not in NOTED_IN
        and (committed or command.get("autocommit") is not False)
    ]


def user_for(route: Route, world: World, user: User) -> User | None:
    """Who may call the route: nobody in particular, an operator, or the user."""
    if route.public:
        return None
    return world.operator if route.for_operators else user


def stored_fields() -> set[str]:
    """The names of all fields of all stored documents, as stored and as Python has them."""
    return {
        name
        for document in (*admin.DOCUMENTS, *tenant.DOCUMENTS)
        for field in document._fields.values()
        for name in (field.db_field, field.name)
    }
