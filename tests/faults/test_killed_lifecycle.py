"""Tenants' records, credentials and keys changed by processes that are killed."""

from typing import Any

import pytest
from flask_openapi3 import OpenAPI

from multitenant.extensions import platform_of
from multitenant.repositories.admin.encrypted_fields import count_with_other_key
from multitenant.security.field_encryption import FieldCipher
from multitenant.tenancy.operations.key_rotation import rotate_keys
from tests.conftest import MakeWorld
from tests.faults.deployment import Deployment
from tests.faults.killing import Do, Victim
from tests.faults.stories import Operation, Story, send
from tests.support import CREDENTIAL_KEY, World

pytestmark = pytest.mark.slow

NEWER_KEY = "a-newer-key-for-tests-" + "0123456789abcdef" * 4


def by_operator(deployment: Deployment, method: str, path: str, json: Any = None) -> Do:
    path = f"/api/tenants/{deployment.record('Acme')['_id']}{path}"
    return lambda app: send(app, deployment.operator, method, path, json)


def test_a_tenant_is_suspended_deleted_and_brought_back_entirely_or_not_at_all(
    deployment: Deployment, victim: Victim
) -> None:
    deployment.world.tenant("Acme")
    Story(
        deployment,
        victim,
        Operation("suspend", by_operator(deployment, "POST", "/suspend")),
        Operation("activate", by_operator(deployment, "POST", "/activate"), rare=True),
        Operation("delete", by_operator(deployment, "DELETE", "")),
        Operation("restore", by_operator(deployment, "POST", "/restore"), rare=True),
    ).tell(bounded=2)


def test_a_tenant_gets_and_loses_its_own_credentials_entirely_or_not_at_all(
    deployment: Deployment, victim: Victim
) -> None:
    deployment.world.tenant("Acme")
    dedicated, shared = {"isolation": "dedicated"}, {"isolation": "shared"}
    Story(
        deployment,
        victim,
        Operation("make dedicated", by_operator(deployment, "PATCH", "", dedicated), once=True),
        Operation("rotate", by_operator(deployment, "POST", "/rotate-credentials"), once=True),
        Operation("make shared", by_operator(deployment, "PATCH", "", shared), once=True),
    ).tell(bounded=4)


class TestKeys:
    @pytest.fixture
    def world(self, make_world: MakeWorld) -> World:
        """The platform while it knows both keys."""
        return make_world(credential_keys=f"{CREDENTIAL_KEY},{NEWER_KEY}")

    def test_rotating_them_is_gone_on_with(self, deployment: Deployment, victim: Victim) -> None:
        for name in ("Acme", "Globex", "Initech"):
            deployment.world.tenant(name, isolation="dedicated")

        def rotate(*keys: str) -> Do:
            cipher = FieldCipher([*keys])

            def do(app: OpenAPI) -> None:
                admin_db = platform_of(app).connections.admin_db
                assert sum(1 for _ in rotate_keys(admin_db, cipher)) <= 3
                assert count_with_other_key(admin_db, cipher.current_key_id) == 0

            return do

        Story(
            deployment,
            victim,
            Operation("rotate", rotate(NEWER_KEY, CREDENTIAL_KEY), gradual=True),
            Operation("rotate back", rotate(CREDENTIAL_KEY, NEWER_KEY), gradual=True, rare=True),
        ).tell(bounded=3)
