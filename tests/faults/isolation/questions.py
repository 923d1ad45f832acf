"""What is asked while tenants change, and afterwards: with all tokens there ever were, under the
names of other tenants, for what other tenants have."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from random import Random
from typing import Any

from tests.faults.isolation.answers import refused
from tests.faults.isolation.client import Request, Token
from tests.faults.isolation.model import Model
from tests.faults.isolation.states import Tenant, View

WRONG_PASSWORD = "nobody's password"
MAX_TODOS = 60
"""Few enough for one page."""
ASKED_AGAIN = 6
"""Tokens of each kind that each worker is asked with after a change."""


class Questions:
    """Makes requests about the tenants of a model; what a `Random` chooses is the caller's."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.passwords: list[str] = [WRONG_PASSWORD]
        """All that ever opened an account."""
        self.hosts: list[str] = []
        """All that ever were, or will be."""
        self.cursors: dict[str, str] = {}
        self._number = 0
        self._adding: Counter[str] = Counter()
        """How many to-dos are being added, by tenant."""

    def some(self, random: Random, changing: list[str]) -> Iterator[Request]:
        """Requests without end, half of them of tenants that are being changed."""
        known = [key for key in self._model.made() if self._model.tokens.get(key)]
        near = [key for key in changing if key in known] or known
        self._adding.clear()
        while known:
            key = random.choice(near if random.random() < 0.6 else known)
            yield self._one(random, key, changing)

    def after(self, random: Random, key: str, before: View) -> list[Request]:
        """What each worker must be asked about a tenant that has changed: with the tokens that
        opened it before or do now, and others, and by its names before and now."""
        tokens = [self.me(token) for token in self._model.tokens.get(key, ())]
        access = [one for one in tokens if one.token and one.token.type == "access"]
        now = self._model.tenants
        different = [one for one in access if refused(before, one) != refused(now, one)]
        good = [one for one in access if refused(now, one) is None]
        asked = list(islice(reversed(different), ASKED_AGAIN))
        asked += [*islice(reversed(good), 2), *random.sample(access, min(len(access), 2))]
        for one in islice(reversed(good), 1):
            asked += [replace(one, **what) for what in self._lists()]
        hosts = {host for one in (before.get(key), now.get(key)) if one for host in one.hosts()}
        askers = [
            self.me(next(one for one in reversed(tokens) if one.type == "access"))
            for tokens in self._model.tokens.values()
            if any(one.type == "access" for one in tokens)
        ]
        asked += [replace(one, host=host) for host in sorted(hosts) for one in askers]
        return list(dict.fromkeys(asked))

    def of_operator_session(self, family: str) -> list[Request]:
        """With the tokens that an operator's session has made."""
        return [
            self.me(token)
            for tokens in self._model.tokens.values()
            for token in tokens
            if token.operator_family == family
        ][-ASKED_AGAIN:]

    def me(self, token: Token) -> Request:
        return Request(kind="me", path="/api/users/me", token=token)

    def log_in(self, tenant: Tenant, email: str, password: str) -> Request:
        """A login that says which tenant is meant."""
        body = {"email": email, "password": password, "tenant": tenant.id}
        return Request(kind="login", method="POST", path="/api/login", body=body)

    def _one(self, random: Random, key: str, changing: list[str]) -> Request:
        if random.random() < 0.15:
            return self._some_login(random, key)
        tokens = self._model.tokens[key]
        if random.random() < 0.9:
            tokens = [one for one in tokens if one.type == "access"] or tokens
        # new ones open more
        token = random.choice(tokens[-4:] if random.random() < 0.6 else tokens)
        if token.type == "refresh" and random.random() < 0.5:
            request = Request(kind="refresh", method="POST", path="/api/refresh", token=token)
            if key not in changing and not changing and refused(self._model.tenants, request):
                return request  # one that is void; any other would be used up
        make: Callable[[Random, Token, Tenant], Request] = random.choice(
            [
                lambda _, token, __: self.me(token),
                self._todo,
                self._new_todo,
                self._list,
                self._page_after_a_foreign_one,
                self._setting,
                self._put_mark,
                self._user,
                self._of_operators,
            ]
        )
        request = make(random, token, self._model.tenants[key])
        if random.random() < 0.12:
            request = replace(request, named=self._some_tenant(random, key).id)
        if random.random() < 0.2 and self.hosts:
            own = self._model.tenants[key].hosts()
            hosts = own if own and random.random() < 0.5 else self.hosts
            request = replace(request, host=random.choice(hosts))
        return request

    def _lists(self) -> list[dict[str, Any]]:
        return [
            {"kind": "todos", "path": "/api/to-do-list?limit=100"},
            {"kind": "users", "path": "/api/users?limit=100"},
            {"kind": "settings", "path": "/api/settings?limit=100"},
            {"kind": "setting", "path": "/api/settings/mark", "about": "mark"},
        ]

    def _list(self, random: Random, token: Token, _: Tenant) -> Request:
        return replace(self.me(token), **random.choice(self._lists()))

    def _todo(self, random: Random, token: Token, tenant: Tenant) -> Request:
        """Of one's own, or, as often, of another tenant, which is like one that does not exist."""
        about = self._some_tenant(random, tenant.key)
        todo_id = random.choice([*about.todos, tenant.id])
        method = random.choice(["GET", "PATCH", *(["DELETE"] if about is not tenant else [])])
        return Request(
            kind="todo",
            method=method,
            path=f"/api/to-do-list/{todo_id}",
            token=token,
            about=todo_id,
            body={"done": True} if method == "PATCH" else None,
        )

    def _new_todo(self, random: Random, token: Token, tenant: Tenant) -> Request:
        if len(tenant.todos) + self._adding[tenant.key] >= MAX_TODOS:
            return self._todo(random, token, tenant)
        self._adding[tenant.key] += 1
        self._number += 1
        return Request(
            kind="add_todo",
            method="POST",
            path="/api/to-do-list",
            token=token,
            body={"title": f"{tenant.mark} {self._number}"},
        )

    def _page_after_a_foreign_one(self, random: Random, token: Token, tenant: Tenant) -> Request:
        cursors = [cursor for key, cursor in self.cursors.items() if key != tenant.key]
        if not cursors:
            return self._list(random, token, tenant)
        path = f"/api/to-do-list?limit=100&cursor={random.choice(cursors)}"
        return Request(kind="some_todos", path=path, token=token)

    def _setting(self, random: Random, token: Token, tenant: Tenant) -> Request:
        about = random.choice(["mark", *self._some_tenant(random, tenant.key).settings])
        return Request(kind="setting", path=f"/api/settings/{about}", token=token, about=about)

    def _put_mark(self, _: Random, token: Token, tenant: Tenant) -> Request:
        """Write what is there, under a key that every tenant has."""
        return Request(
            kind="put_setting",
            method="PUT",
            path="/api/settings/mark",
            token=token,
            about="mark",
            body={"value": tenant.mark},
        )

    def _user(self, random: Random, token: Token, tenant: Tenant) -> Request:
        about = random.choice([*self._some_tenant(random, tenant.key).users, tenant.id])
        return Request(kind="user", path=f"/api/users/{about}", token=token, about=about)

    def _of_operators(self, random: Random, token: Token, tenant: Tenant) -> Request:
        about = self._some_tenant(random, tenant.key).id
        path = random.choice(["/api/tenants", f"/api/tenants/{about}", "/api/usage", "/api/audit"])
        return Request(kind="operator", path=path, token=token)

    def _some_tenant(self, random: Random, key: str) -> Tenant:
        """The tenant itself, or, as often, another."""
        others = [one for one in self._model.made() if one != key]
        return self._model.tenants[
            random.choice(others) if others and random.random() < 0.5 else key
        ]

    def _some_login(self, random: Random, key: str) -> Request:
        tenant = self._model.tenants[key]
        users = list(tenant.users.values())
        if not users:
            return self._list(random, random.choice(self._model.tokens[key]), tenant)
        user = random.choice(users)
        password = user.password or WRONG_PASSWORD
        if random.random() < 0.4:
            password = random.choice(self.passwords)
        request = self.log_in(tenant, user.email, password)
        other = self._some_tenant(random, key)
        text = random.choice([None, None, other.id, other.name.upper(), other.subdomain])
        body = {"email": user.email, "password": password} | ({"tenant": text} if text else {})
        request = replace(request, body=body)
        if random.random() < 0.2:
            request = replace(request, named=self._some_tenant(random, key).id)
        if random.random() < 0.2 and self.hosts:
            request = replace(request, host=random.choice(self.hosts))
        return request
