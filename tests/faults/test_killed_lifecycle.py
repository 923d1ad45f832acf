"""Tenants' records changed by processes that are killed."""

from functools import partial

from flask_openapi3 import OpenAPI

from tests.faults.deployment import Deployment
from tests.faults.killing import Victim
from tests.faults.stories import Operation, Story, send


def test_a_tenant_is_suspended_deleted_and_brought_back_entirely_or_not_at_all(
    deployment: Deployment, victim: Victim
) -> None:
    owner = deployment.world.tenant("Acme")
    deployment.world.tenant("Globex")
    path = f"/api/tenants/{owner.tenant_id}"

    def change(method: str, path: str, app: OpenAPI) -> None:
        send(app, deployment.operator, method, path)

    Story(
        deployment,
        victim,
        Operation("suspend", partial(change, "POST", f"{path}/suspend")),
        Operation("activate", partial(change, "POST", f"{path}/activate")),
        Operation("delete", partial(change, "DELETE", path)),
        Operation("restore", partial(change, "POST", f"{path}/restore")),
    ).tell()
