"""Tenants added and purged by processes that are killed."""

from typing import Any

import pytest
from flask_openapi3 import OpenAPI

from multitenant.embedded import EmbeddedServer
from multitenant.extensions import platform_of
from multitenant.repositories.admin.provisionings import count_prepared
from multitenant.tenancy.migrations import TENANT_VERSION
from tests.conftest import MakeWorld
from tests.faults.budget import alike
from tests.faults.deployment import Deployment
from tests.faults.killing import Step, Victim
from tests.faults.stories import Operation, Story, send
from tests.support import PASSWORD, World, eventually

pytestmark = pytest.mark.slow

ACME = {"name": "Acme", "email": "owner@acme.example", "subdomain": "acme"}


def until_one_is_prepared(app: OpenAPI) -> None:
    platform = platform_of(app)

    def found() -> bool:
        platform.prepared.refill()
        admin_db = platform.connections.admin_db
        return count_prepared(admin_db, "default", version=TENANT_VERSION) == 1

    eventually(found, seconds=30)


def tell(
    deployment: Deployment,
    victim: Victim,
    new: dict[str, Any],
    *,
    bounded: int = 5,
    pool: bool = False,
    rare: bool = False,
) -> None:
    """Add Acme and purge it again, which may be the like of another purge."""
    world, path = deployment.world, ""

    def wait(app: OpenAPI) -> None:
        if pool:
            until_one_is_prepared(app)

    def add(app: OpenAPI) -> None:
        headers = {"Idempotency_Key": "acme"}
        send(app, deployment.operator, "POST", "/api/add", {**ACME, **new}, **headers)
        wait(app)

    def delete() -> None:
        nonlocal path
        path = f"/api/tenants/{deployment.record('Acme')['_id']}"
        send(world.app, deployment.operator, "DELETE", path)

    def purge(app: OpenAPI) -> None:
        send(app, deployment.operator, "POST", f"{path}/purge", {"confirm": "Acme"})

    Story(
        deployment,
        victim,
        Operation("add", add, prepare=lambda: wait(world.app)),
        Operation("purge", purge, prepare=delete, rare=rare),
    ).tell(bounded)


@pytest.mark.parametrize(
    "new",
    [
        pytest.param({"password": PASSWORD}, id="with a password"),
        pytest.param({}, id="by invitation", marks=alike),
        pytest.param({"password": PASSWORD, "isolation": "dedicated"}, id="dedicated", marks=alike),
    ],
)
def test_a_tenant_is_added_and_purged_entirely_or_not_at_all(
    deployment: Deployment, victim: Victim, new: dict[str, Any]
) -> None:
    deployment.world.tenant("Globex")
    tell(deployment, victim, new)


class TestFromAPreparedDatabase:
    @pytest.fixture
    def world(self, make_world: MakeWorld) -> World:
        world = make_world(provisioning_pool_size=1)
        until_one_is_prepared(world.app)
        return world

    def test_a_tenant_is_added_and_purged_entirely_or_not_at_all(
        self, deployment: Deployment, victim: Victim
    ) -> None:
        tell(deployment, victim, {"password": PASSWORD}, bounded=3, pool=True, rare=True)


class TestElsewhere:
    @pytest.fixture
    def world(self, make_world: MakeWorld, elsewhere: EmbeddedServer) -> World:
        return make_world(tenant_uri_allowed_hosts=f"127.0.0.1:{elsewhere._port}")

    def test_a_tenant_on_another_cluster_is_added_and_purged_entirely_or_not_at_all(
        self, on_two_clusters: Deployment, victim: Victim
    ) -> None:
        new = {"password": PASSWORD, "cluster": "blue", "isolation": "dedicated"}
        tell(on_two_clusters, victim, new, rare=True)

    def test_a_tenant_on_a_server_of_its_own_is_added_and_purged_entirely_or_not_at_all(
        self, on_two_clusters: Deployment, victim: Victim, their_uri: str
    ) -> None:
        tell(on_two_clusters, victim, {"password": PASSWORD, "dbUri": their_uri})

    def test_what_somebody_else_has_put_into_a_noted_database_meanwhile_is_left_alone(
        self, on_two_clusters: Deployment, victim: Victim, their_uri: str
    ) -> None:
        """The process is killed after it has noted the database, and before it marks it."""
        deployment = on_two_clusters
        new = {**ACME, "dbUri": their_uri}

        def add(app: OpenAPI) -> None:
            send(app, deployment.operator, "POST", "/api/add", new)

        assert victim.killed(add, Step("insert admin.provisionings", 1, "sent")).killed
        acme = deployment.servers["external"]["acme"]
        assert acme.list_collection_names() == []
        acme["invoices"].insert_one({"paid": False})
        deployment.restart()
        assert deployment.world.admin_db["provisionings"].count_documents({}) == 1
        deployment.collect_garbage()
        assert deployment.world.admin_db["provisionings"].count_documents({}) == 0
        assert acme.list_collection_names() == ["invoices"]
