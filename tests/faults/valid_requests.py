"""A request that succeeds, for every operation of the OpenAPI document.

What a path names is made first, by the operation that the document says makes it; bodies are the
document's examples. What no document can say, such as that only a deleted tenant is purged, stands
in the few functions below. An operation for which all of this does not suffice fails in the tests,
so a new one is tried without being named here, or asks for what it lacks.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from bson import ObjectId
from werkzeug.test import TestResponse

from multitenant.middleware.access import Access, access_of
from tests.contract import contract
from tests.support import PASSWORD, User, World, answer

PARAMETER = re.compile(r"{(\w+)}")
UNIQUE: dict[str, Callable[[], Any]] = {
    "email": lambda: f"{ObjectId()}@acme.example",
    "name": lambda: f"Tenant {ObjectId()}",
    "subdomain": lambda: f"t{ObjectId()}x",
    "domains": lambda: [f"{ObjectId()}.acme.example"],
}
"""What must not be the same twice."""
TENANT = "/api/tenants/{id}"
OWNER = "owner@acme.example"
Operation = tuple[str, str]


def operations() -> list[Operation]:
    """Every operation of the document: method and path."""
    return [
        (method.upper(), path)
        for path, item in contract().document["paths"].items()
        for method in item
    ]


@dataclass
class Request:
    """A request that waits to be sent; `sender` is None where it needs no token."""

    method: str
    path: str
    sender: User | None
    body: dict[str, Any] | None

    def send(self, world: World) -> TestResponse:
        """Send it to this application."""
        if self.sender is None:
            return world.client.open(self.path, method=self.method, json=self.body)
        return replace(self.sender, client=world.client).send(self.method, self.path, self.body)


class ValidRequests:
    """Makes them, in one tenant that is there for it, and on others."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._owner = world.tenant("Acme")
        self._other = self._new_tenant()
        self._dedicated: str | None = None
        self._special: dict[Operation, Callable[[Request], None]] = {
            ("POST", "/api/login"): _with_credentials,
            ("POST", "/api/refresh"): self._with_fresh_tokens,
            ("POST", "/api/logout"): self._with_fresh_tokens,
            ("POST", "/api/invitations/accept"): self._with_invitation,
            ("POST", "/api/tenants/{id}/activate"): self._after("suspend"),
            ("POST", "/api/tenants/{id}/restore"): self._after_deletion,
            ("POST", "/api/posts/{id}/restore"): self._after_deletion,
            ("POST", "/api/tenants/{id}/rotate-credentials"): self._of_dedicated_tenant,
            ("POST", "/api/tenants/{id}/impersonate"): self._of_owner,
            ("POST", "/api/tenants/{id}/purge"): self._of_tenant_to_purge,
            ("PUT", "/api/users/me/password"): self._of_new_user,
        }

    @property
    def tenant_id(self) -> str:
        """The tenant in which they are sent."""
        return self._owner.tenant_id

    def make(self, method: str, path: str, *, apart: bool = False) -> Request:
        """Return a request of the operation, after doing all that it needs to succeed. One that is
        made `apart` succeeds whatever others do."""
        if apart and path.startswith(f"{TENANT}/"):
            self._other = self._new_tenant()
        ids: dict[str, str] = {}
        for parameter in PARAMETER.finditer(path):
            up_to_here = path[: parameter.end()]
            before = path[: parameter.start()].rstrip("/")
            ids[parameter[1]] = self._id_of(up_to_here, before, ids)
        request = self._example(method, path, ids)
        if prepare := self._special.get((method, path)):
            prepare(request)
        return request

    def _new_tenant(self) -> dict[str, str]:
        made: dict[str, str] = answer(self._made(self._example("POST", "/api/tenants", {})))
        return made

    def _id_of(self, path: str, before: str, ids: dict[str, str]) -> str:
        """Make what the last part of the path names, and return its id."""
        if path == TENANT:
            for action in ("restore", "activate"):
                self._act(f"/api/tenants/{self._other['tenantId']}/{action}")
            return self._other["tenantId"]
        paths = contract().document["paths"]
        if "post" in paths.get(before, {}):
            return str(answer(self._made(self._example("POST", before, ids)))["id"])
        made_id = f"made{ObjectId()}"
        known = {**ids, PARAMETER.findall(path)[-1]: made_id}
        self._made(self._example("PUT", path, known))
        return made_id

    def _example(self, method: str, path: str, ids: dict[str, str]) -> Request:
        """The operation's example."""
        operation = contract().document["paths"][path][method.lower()]
        body = None
        if "requestBody" in operation:
            example = operation["requestBody"]["content"]["application/json"]["example"]
            body = {
                name: UNIQUE[name]() if name in UNIQUE else value for name, value in example.items()
            }
        filled = PARAMETER.sub(lambda part: ids[part[1]], path)
        sender = self._sender(method, filled) if operation["security"] else None
        return Request(method, filled, sender, body)

    def _sender(self, method: str, path: str) -> User:
        app = self._world.app
        endpoint, _ = app.url_map.bind("localhost").match(path, method)
        is_operators = access_of(app.view_functions[endpoint]) is Access.OPERATOR
        return self._world.operator if is_operators else self._owner

    def _made(self, request: Request) -> TestResponse:
        response = request.send(self._world)
        assert response.status_code < 300, f"{request}: {response.text}"
        return response

    def _act(self, path: str, method: str = "POST") -> None:
        self._made(Request(method, path, self._sender(method, path), None))

    def _after(self, action: str) -> Callable[[Request], None]:
        return lambda request: self._act(f"{request.path.rpartition('/')[0]}/{action}")

    def _after_deletion(self, request: Request) -> None:
        self._act(request.path.rpartition("/")[0], "DELETE")

    def _with_fresh_tokens(self, request: Request) -> None:
        session = self._world.login(OWNER)
        token = session.refresh if request.path == "/api/refresh" else session.access
        request.sender = replace(session, access=token)

    def _with_invitation(self, request: Request) -> None:
        invited = answer(self._made(self._example("POST", "/api/users", {})))
        request.body = {"token": invited["invitationToken"], "password": PASSWORD}

    def _of_new_user(self, request: Request) -> None:
        """Whose password was not changed yet."""
        request.sender = self._world.colleague(self._owner, "member")
        request.body = {"currentPassword": PASSWORD, "newPassword": f"another {PASSWORD}"}

    def _of_dedicated_tenant(self, request: Request) -> None:
        if self._dedicated is None:
            self._dedicated = self._new_tenant()["tenantId"]
            path, body = f"/api/tenants/{self._dedicated}", {"isolation": "dedicated"}
            self._made(Request("PATCH", path, self._world.operator, body))
        request.path = f"/api/tenants/{self._dedicated}/rotate-credentials"

    def _of_owner(self, request: Request) -> None:
        request.body = {"userId": str(self._other["userId"]), "reason": "Ticket 4711"}

    def _of_tenant_to_purge(self, request: Request) -> None:
        new = self._example("POST", "/api/tenants", {})
        made = answer(self._made(new))
        self._act(f"/api/tenants/{made['tenantId']}", "DELETE")
        request.path = f"/api/tenants/{made['tenantId']}/purge"
        assert new.body is not None
        request.body = {"confirm": new.body["name"]}


def _with_credentials(request: Request) -> None:
    request.body = {"email": OWNER, "password": PASSWORD}
