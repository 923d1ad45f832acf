"""Migrations in processes that are killed: what is left is gone on with."""

import random
from functools import partial

import pytest
from flask_openapi3 import OpenAPI
from pydantic import SecretStr

from multitenant.extensions import Platform, platform_of
from multitenant.repositories.admin.tenants import find_tenants_for_migration
from multitenant.repositories.model import MongoDocument
from multitenant.tenancy.lifecycle.initialisation import OPERATORS, initialise
from multitenant.tenancy.lifecycle.maintenance import maintenance
from multitenant.tenancy.operations.fleet import Fleet
from tests.conftest import Client
from tests.faults.budget import LONG, alike
from tests.faults.deployment import Deployment
from tests.faults.killing import Victim
from tests.faults.stories import Operation, Story, perform
from tests.support import OPERATOR_EMAIL, OPERATOR_PASSWORD

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "in_maintenance",
    [pytest.param(False, id="at work"), pytest.param(True, id="in maintenance", marks=alike)],
)
def test_all_tenants_are_migrated_and_taken_back(
    deployment: Deployment, victim: Victim, in_maintenance: bool
) -> None:
    for name in ("Acme", "Globex"):
        deployment.world.tenant(name)

    def opened(platform: Platform) -> Fleet:
        maintain = partial(maintenance, platform.connections, transaction_seconds=10)
        return Fleet(
            platform.connections,
            platform.cipher,
            parallel=2,
            maintain=maintain if in_maintenance else None,
        )

    def records(platform: Platform) -> list[MongoDocument]:
        return find_tenants_for_migration(platform.connections.admin_db)

    def take_back(platform: Platform) -> None:
        with opened(platform) as fleet:
            assert not [one.error for one in fleet.roll_back(records(platform), 3) if one.error]

    def migrate(platform: Platform) -> None:
        with opened(platform) as fleet:
            assert not [one.error for one in fleet.migrate(records(platform)) if one.error]

    Story(
        deployment,
        victim,
        Operation("roll back", perform(take_back), gradual=True),
        Operation("migrate", perform(migrate), gradual=True),
    ).tell(bounded=3)


def test_a_first_start_is_gone_on_with(
    deployment: Deployment, victim: Victim, mongo: Client
) -> None:
    """The admin database's migrations, and the operators' tenant."""
    world = deployment.world
    settings = world.platform.settings

    def wipe() -> None:
        for name in mongo.list_database_names():
            if name == settings.admin_db_name or name.startswith(settings.tenant_db_prefix):
                mongo.drop_database(name)

    def start(app: OpenAPI) -> None:
        platform = platform_of(app)
        initialise(
            platform.connections,
            platform.provisioner,
            email=OPERATOR_EMAIL,
            password=SecretStr(OPERATOR_PASSWORD),
            made_up_password=lambda: pytest.fail("the password was given"),
        )

    wipe()
    steps = victim.steps(start)
    assert len(steps) > 40
    for step in steps if LONG else sorted(random.sample(steps, 3), key=steps.index):
        wipe()
        victim.killed(start, step)
        deployment.restart()
        start(world.app)
        deployment.collect_garbage()
        deployment.ensure_whole()
        assert [one["name"] for one in world.admin_db["tenants"].find()] == [OPERATORS], step
        assert world.login(OPERATOR_EMAIL, OPERATOR_PASSWORD).get("/api/tenants").status_code == 200
