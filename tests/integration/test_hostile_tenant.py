"""The owner of a tenant's own server writes into its database whatever does harm elsewhere."""

from typing import Any

import pytest
from bson import ObjectId

from multitenant.embedded import EmbeddedServer
from tests.conftest import MakeWorld
from tests.integration.test_external_tenants import Client, add, purge
from tests.support import PASSWORD, World, answer, refusal


@pytest.fixture
def world(make_world: MakeWorld, elsewhere: EmbeddedServer) -> World:
    return make_world(tenant_uri_allowed_hosts=f"127.0.0.1:{elsewhere._port}")


def test_a_user_with_the_id_of_another_tenants_user_is_nobody(
    world: World,
    theirs: Client,
    their_uri: str,
) -> None:
    victim = world.tenant("Globex")
    owner = add(world, their_uri)
    document = theirs["acme"]["users"].find_one_and_delete({})
    assert document is not None
    theirs["acme"]["users"].insert_one(
        {**document, "_id": ObjectId(victim.user_id), "tokenVersion": 1000}
    )
    body = {"email": "owner@acme.example", "password": PASSWORD}
    refusal(world.client.post("/api/login", json=body), 401, "credentials_invalid")
    theirs["acme"]["users"].delete_many({})
    theirs["acme"]["users"].insert_one(document)
    purge(world, owner)


def test_a_forged_version_ends_no_session_of_another_tenant(world: World) -> None:
    """Revocations belong to a tenant's user, whatever ids a tenant's database holds."""
    victim, owner = world.tenant("Globex"), world.tenant("Acme")
    db = world.db_of(owner.tenant_id)
    document = db["users"].find_one_and_delete({})
    assert document is not None
    forged = {**document, "_id": ObjectId(victim.user_id), "tokenVersion": 1000}
    db["users"].insert_one(forged)
    world.admin_db["tenantusers"].update_many({}, {"$set": {"checked": True}})
    with world.app.app_context():
        tokens = world.platform.tokens.issue_pair(
            user_id=ObjectId(victim.user_id),
            tenant_id=ObjectId(owner.tenant_id),
            role="owner",
            version=1000,
            family=None,
        )
    body = {"currentPassword": PASSWORD, "newPassword": "another one"}
    headers = {"Authorization": f"Bearer {tokens.access}"}
    changed = world.client.put("/api/users/me/password", json=body, headers=headers)
    assert changed.status_code == 200
    assert victim.get("/api/users/me").status_code == 200
    assert world.login("owner@globex.example").get("/api/users/me").status_code == 200


@pytest.mark.parametrize(
    "change",
    [
        {"password": "$2b$31$" + "a" * 53},
        {"password": 7},
        {"password": {"$ne": ""}},
        {"role": "operator"},
        {"role": "root"},
        {"status": None},
        {"tokenVersion": "x"},
        {"tokenVersion": -1},
    ],
    ids=str,
)
def test_a_user_who_does_not_fit_the_schema_is_nobody_and_delays_nobody(
    world: World, change: dict[str, Any]
) -> None:
    owner, other = world.tenant("Acme"), world.tenant("Globex")
    world.db_of(owner.tenant_id)["users"].update_one({}, {"$set": change})
    body = {"email": "owner@acme.example", "password": PASSWORD}
    # A hash of cost 31 takes days.
    refusal(world.client.post("/api/login", json=body), 401, "credentials_invalid")
    assert other.get("/api/users/me").status_code == 200


def test_a_server_that_is_down_keeps_nobody_from_logging_in_elsewhere(
    make_world: MakeWorld,
    their_uri: str,
    theirs: Client,
    elsewhere: EmbeddedServer,
) -> None:
    """The email belongs to both tenants, and the request names none."""
    world = make_world(tenant_uri_allowed_hosts=f"127.0.0.1:{elsewhere._port}")
    owner = add(world, their_uri)
    world.add(name="Globex", email="owner@acme.example", password="another password")
    theirs["acme"].command("updateUser", "theirs", pwd="changed")
    world.platform.connections.forget(ObjectId(owner.tenant_id))
    world.platform.connections.close_idle()  # what logged in before the change stays logged in
    assert world.login("owner@acme.example", "another password")
    body = {"email": "owner@acme.example", "password": PASSWORD}
    response = world.client.post("/api/login", json=body)
    refusal(response, 503, "database_unavailable")
    theirs["acme"].command("updateUser", "theirs", pwd="their-password")
    purge(world, owner)


def test_invitations_of_a_busy_tenant_take_no_more_threads_than_its_requests(
    make_world: MakeWorld,
) -> None:
    world = make_world(tenant_max_concurrency=1)
    made = answer(world.add(name="Acme", email="owner@acme.example"))
    body = {"token": made["invitationToken"], "password": PASSWORD}
    with world.platform.concurrency.entered(ObjectId(made["tenantId"])):
        response = world.client.post("/api/invitations/accept", json=body)
        refusal(response, 429, "tenant_busy")
    assert world.client.post("/api/invitations/accept", json=body).status_code == 200
