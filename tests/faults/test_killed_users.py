"""Users changed by processes that are killed: one transaction, or one for each of two clusters."""

from collections.abc import Callable
from typing import Any

import pytest
from flask_openapi3 import OpenAPI

from tests.faults.deployment import OTHER_PASSWORD, Deployment
from tests.faults.killing import Do, Victim
from tests.faults.stories import Operation, Story, send
from tests.support import PASSWORD, User, answer

pytestmark = pytest.mark.slow

OWNER = ("Acme", "owner@acme.example")
BEN = ("Acme", "ben@acme.example")
CARL = ("Acme", "carl@acme.example")


class Users:
    """Acme's, as its owner knows them."""

    def __init__(self, deployment: Deployment, cluster: str) -> None:
        self._deployment = deployment
        deployment.world.tenant("Acme", cluster=cluster)
        deployment.log_in()
        self.ids: dict[str, str] = {}
        self.invitation = ""

    @property
    def _owner(self) -> User:
        return self._deployment.sessions[OWNER]

    def look(self) -> None:
        listed = answer(self._owner.get("/api/users"))["items"]
        self.ids = {user["email"]: user["id"] for user in listed}

    def invite_again(self) -> None:
        """The first answer may have been lost with its process."""
        self.look()
        response = self._owner.post(f"/api/users/{self.ids[CARL[1]]}/invitation")
        self.invitation = answer(response)["invitationToken"]

    def by_owner(self, method: str, email: str | None = None, json: Any = None) -> Do:
        def do(app: OpenAPI) -> None:
            path = f"/api/users/{self.ids[email]}" if email else "/api/users"
            send(app, self._owner, method, path, json)

        return do

    def by_ben(self, app: OpenAPI) -> None:
        body = {"currentPassword": PASSWORD, "newPassword": OTHER_PASSWORD}
        send(app, self._deployment.sessions[BEN], "PUT", "/api/users/me/password", body)

    def by_carl(self, app: OpenAPI) -> None:
        nobody = User(self._owner.client, "", "", "", "")
        body = {"token": self.invitation, "password": PASSWORD}
        send(app, nobody, "POST", "/api/invitations/accept", body)


def tell(deployment: Deployment, victim: Victim, cluster: str) -> None:
    users = Users(deployment, cluster)
    do = users.by_owner
    # On two clusters an entry of the audit log may be missing, or of what did not come about.
    lags = frozenset[str]() if cluster == "default" else frozenset({"audit"})

    def of(name: str, work: Do, prepare: Callable[[], None] = users.look, **how: Any) -> Operation:
        return Operation(name, work, prepare=prepare, **{"lags": lags, **how})

    Story(
        deployment,
        victim,
        of("add", do("POST", json={"email": BEN[1], "password": PASSWORD})),
        of("give another role", do("PATCH", BEN[1], {"role": "admin"}), rare=True),
        of("disable", do("PATCH", BEN[1], {"status": "disabled"})),
        of("enable", do("PATCH", BEN[1], {"status": "active"}), rare=True),
        of("change the password", users.by_ben),
        of("remove", do("DELETE", BEN[1])),
        of("invite", do("POST", json={"email": CARL[1]}), rare=True),
        of("accept", users.by_carl, users.invite_again, rare=bool(lags)),
        of("remove who was invited", do("DELETE", CARL[1]), rare=True),
    ).tell(bounded=2)


def test_users_are_changed_entirely_or_not_at_all(deployment: Deployment, victim: Victim) -> None:
    tell(deployment, victim, "default")


def test_users_on_another_cluster_are_changed_to_nobodys_harm_and_the_rest_is_done_when_asked_again(
    on_two_clusters: Deployment, victim: Victim
) -> None:
    tell(on_two_clusters, victim, "blue")
