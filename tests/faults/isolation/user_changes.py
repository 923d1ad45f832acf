"""What the users of a tenant do: to others, to themselves, and to what the tenant has."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from tests.faults.isolation.answers import (
    CONFLICT,
    INVALID_CREDENTIALS,
    NOT_FOUND,
    REVOKED,
    ROLE_REQUIRED,
    Expected,
    Refusal,
    Success,
    done,
    refused,
    refused_by,
)
from tests.faults.isolation.changes import ANYTHING, Change, Effect, Send, by_request, nothing
from tests.faults.isolation.client import Answer, Request, Token
from tests.faults.isolation.model import Model
from tests.faults.isolation.states import Tenant, User

SendAll = Callable[[list[Request]], list[Answer]]


class Users:
    """Makes the changes that users make, each with one of their tokens."""

    def __init__(self, model: Model, send: Send) -> None:
        self._model = model
        self._send = send

    def add(self, by: Token, email: str, role: str, password: str | None) -> Change:
        tenant = self._tenant(by)
        body = {"email": email, "role": role} | ({"password": password} if password else {})
        made = Success(201, lambda answer: self._is_new(answer, body))
        wrong: list[Expected] = []
        if any(user.email == email for user in tenant.users.values()):
            wrong.append(Refusal(409, "already_exists"))
        if tenant.user_limit is not None and len(tenant.users) >= tenant.user_limit:
            wrong.append(Refusal(409, "user_limit_reached"))
        if role == "owner" and by.role == "admin":
            wrong = [ROLE_REQUIRED]

        def effect(after: Tenant, answer: Answer) -> None:
            told = answer.object
            user = User(told["id"], email, role, told["status"], password)
            after.users[user.id] = user
            self._model.own(after.key, user.id)
            assert ("invitationToken" in told) == (password is None)
            if password is None:
                invitation = Token.read(told["invitationToken"])
                user.invitation = invitation.id
                self._model.keep(invitation)

        return self._manage(by, "POST", "", body, wrong or made, effect)

    def change(self, by: Token, user_id: str, field: str, value: str) -> Change:
        """Give the user another role or status."""
        tenant = self._tenant(by)
        user = tenant.users.get(user_id)
        expected: Expected = self._may(by, tenant, user) or self._may_become(
            by, tenant, user, field, value
        )
        known = user

        def effect(after: Tenant, _: Answer) -> None:
            assert known
            user = after.users[user_id]
            if getattr(user, field) == value:
                return
            if field == "role":
                if user.status == "invited":
                    user.invitation = None
                user.role = value
            elif value == "disabled":
                user.status, user.invitation = "disabled", None
            else:
                user.status = "active" if user.password else "invited"
            user.end_sessions()

        return self._manage(by, "PATCH", f"/{user_id}", {field: value}, expected, effect)

    def remove(self, by: Token, user_id: str) -> Change:
        tenant = self._tenant(by)
        user = tenant.users.get(user_id)
        expected: Expected = self._may(by, tenant, user) or ANYTHING
        if user and expected is ANYTHING and _is_last_owner(tenant, user):
            expected = CONFLICT

        def effect(after: Tenant, _: Answer) -> None:
            del after.users[user_id]

        return self._manage(by, "DELETE", f"/{user_id}", None, expected, effect)

    def invite_again(self, by: Token, user_id: str) -> Change:
        tenant = self._tenant(by)
        user = tenant.users.get(user_id)
        expected: Expected = self._may(by, tenant, user) or Success(201, lambda _: True)
        if user and isinstance(expected, Success) and user.status != "invited":
            expected = CONFLICT

        def effect(after: Tenant, answer: Answer) -> None:
            invitation = Token.read(answer.object["invitationToken"])
            after.users[user_id].invitation = invitation.id
            self._model.keep(invitation)

        return self._manage(by, "POST", f"/{user_id}/invitation", None, expected, effect)

    def accept_invitation(self, invitation: Token, password: str) -> Change:
        tenant = self._tenant(invitation)
        request = Request(
            kind="accept",
            method="POST",
            path="/api/invitations/accept",
            body={"token": invitation.text, "password": password},
        )
        user = tenant.users.get(invitation.user_id)
        expected: Expected = refused_by(tenant, request) or ANYTHING
        if expected is ANYTHING and (user is None or user.invitation != invitation.id):
            expected = REVOKED

        def effect(after: Tenant, _: Answer) -> None:
            user = after.users[invitation.user_id]
            user.status, user.password, user.invitation = "active", password, None

        return by_request(self._model, self._send, tenant.key, request, expected, effect)

    def change_password(self, by: Token, current: str, new: str) -> Change:
        body = {"currentPassword": current, "newPassword": new}
        user = self._tenant(by).users.get(by.user_id)
        expected: Expected = ANYTHING
        if by.operator_family:
            expected = ROLE_REQUIRED
        elif user and user.password != current:
            expected = INVALID_CREDENTIALS

        def effect(after: Tenant, _: Answer) -> None:
            user = after.users[by.user_id]
            user.password = new
            user.end_sessions(spared=by.family)

        request = self._request(by, "PUT", "/api/users/me/password", body, kind="me")
        return self._allowed(request, expected, effect)

    def log_out(self, by: Token) -> Change:
        def effect(after: Tenant, _: Answer) -> None:
            after.ended.add(by.family)

        request = self._request(by, "POST", "/api/logout", kind="logout")
        return self._allowed(request, ANYTHING, effect)

    def refresh(
        self, by: Token, send_all: Callable[[list[Request]], list[Answer]], times: int
    ) -> Change:
        """Use a refresh token, so many times at once (`send_all` does that): at most one use gets
        new tokens, and where there was another, all of them are void."""
        tenant = self._tenant(by)
        key = tenant.key
        request = self._request(by, "POST", "/api/refresh", kind="refresh")
        refusal = refused(self._model.tenants, request)
        was_used = by.id in tenant.used

        def finish(answers: list[Answer]) -> Sequence[Tenant]:
            told = [(answer.status, answer.code) for answer in answers]
            if refusal:
                assert set(told) == {(refusal.status, refusal.code)}, (request, told)
                return []
            fresh = [answer for answer in answers if answer.status == 200]
            assert len(fresh) == (0 if was_used else 1), f"{request}, used: {was_used}: {told}"
            again = len(answers) - len(fresh)
            assert told.count((401, "token_revoked")) == again, (request, told)
            after = tenant.copy()
            after.used.add(by.id)
            user = after.users[by.user_id]
            for answer in fresh:
                pair = [Token.read(answer.object[n]) for n in ("accessToken", "refreshToken")]
                for token in pair:
                    about = (token.tenant_id, token.user_id, token.role, token.version)
                    assert about == (tenant.id, user.id, user.role, user.version), request
                    assert token.family == by.family
                self._model.keep(*pair)
            if again:
                after.ended.add(by.family)
            return [after]

        return Change(key, f"{request} {times} times", lambda: send_all([request] * times), finish)

    def put_setting(self, by: Token, key: str, value: str) -> Change:
        def effect(after: Tenant, _: Answer) -> None:
            after.settings[key] = value

        request = self._request(
            by, "PUT", f"/api/settings/{key}", {"value": value}, kind="put_setting"
        )
        return self._allowed(replace(request, about=key), ANYTHING, effect)

    def delete_todo(self, by: Token, todo_id: str) -> Change:
        def effect(after: Tenant, _: Answer) -> None:
            after.todos.pop(todo_id, None)

        request = self._request(by, "DELETE", f"/api/to-do-list/{todo_id}", kind="todo")
        request = replace(request, about=todo_id)
        return self._allowed(request, done(self._model.tenants, request, {}), effect)

    def _tenant(self, token: Token) -> Tenant:
        return self._model.tenants[self._model.key_of(token)]

    def _request(
        self, by: Token, method: str, path: str, body: Any = None, *, kind: str
    ) -> Request:
        return Request(kind=kind, method=method, path=path, token=by, body=body)

    def _manage(
        self,
        by: Token,
        method: str,
        path: str,
        body: Any,
        expected: Expected | list[Expected],
        effect: Effect,
    ) -> Change:
        request = self._request(by, method, f"/api/users{path}", body, kind="manage")
        return self._allowed(request, expected, effect)

    def _allowed(
        self, request: Request, expected: Expected | list[Expected], effect: Effect = nothing
    ) -> Change:
        """The change, where the request is let through."""
        assert request.token
        if refusal := refused(self._model.tenants, request):
            expected = refusal
        key = self._model.key_of(request.token)
        return by_request(self._model, self._send, key, request, expected, effect)

    def _may(self, by: Token, tenant: Tenant, user: User | None) -> Refusal | None:
        """Who may change whom."""
        if user is None:
            return NOT_FOUND
        if user.id == by.user_id:
            return CONFLICT
        return ROLE_REQUIRED if user.role == "owner" and by.role == "admin" else None

    def _may_become(
        self, by: Token, tenant: Tenant, user: User | None, field: str, value: str
    ) -> Expected:
        assert user
        if value == "owner" and by.role == "admin":
            return ROLE_REQUIRED
        if field == "status" and value == "active" and user.status == "invited":
            return CONFLICT
        if getattr(user, field) != value and _is_last_owner(tenant, user):
            return CONFLICT
        return ANYTHING

    def _is_new(self, answer: Answer, body: dict[str, Any]) -> bool:
        status = "active" if "password" in body else "invited"
        shown = {name: answer.object[name] for name in ("email", "role", "status")}
        return shown == {"email": body["email"], "role": body["role"], "status": status}


def _is_last_owner(tenant: Tenant, user: User) -> bool:
    owners = [
        one.id for one in tenant.users.values() if (one.role, one.status) == ("owner", "active")
    ]
    return owners == [user.id]
