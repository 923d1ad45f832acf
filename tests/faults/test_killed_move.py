"""Tenants moved between clusters by processes that are killed."""

import pytest
from bson import ObjectId

from multitenant.extensions import Platform
from multitenant.tenancy.actor import Actor
from multitenant.tenancy.operations import moving
from tests.conftest import MakeWorld
from tests.faults.deployment import Deployment
from tests.faults.killing import Do, Victim
from tests.faults.stories import Operation, Story, perform
from tests.support import World

pytestmark = pytest.mark.slow

ACTOR = Actor.on_command_line()


@pytest.fixture
def world(make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch) -> World:
    """Every process hears of a change soon, and is waited for if this machine is slow."""
    monkeypatch.setattr(moving, "ANSWER_SECONDS", 40.0)
    return make_world(tenant_stale_seconds=0.1)


def test_a_tenant_is_moved_there_and_back_entirely_or_not_at_all(
    on_two_clusters: Deployment, victim: Victim
) -> None:
    owner = on_two_clusters.world.tenant("Acme", cluster="default", isolation="dedicated")
    owner.post("/api/to-do-list", {"title": "x"})
    tenant_id = ObjectId(owner.tenant_id)

    def move(to: str) -> Do:
        return perform(lambda platform: platform.moves.move(tenant_id, ACTOR, to=to))

    def confirm(platform: Platform) -> None:
        platform.restoration.confirm(tenant_id, ACTOR, action="tenant.confirm_move")

    Story(
        on_two_clusters,
        victim,
        Operation("move", move("blue")),
        Operation("confirm", perform(confirm), rare=True),
        Operation("move back", move("default"), rare=True),
        Operation("confirm again", perform(confirm)),
    ).tell(bounded=5)
