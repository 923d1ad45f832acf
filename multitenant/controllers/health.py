"""Whether the process lives, and whether it can work."""

from flask import Response
from flask_openapi3 import APIBlueprint, Tag

from multitenant.errors import DatabaseUnavailable
from multitenant.extensions import platform
from multitenant.middleware.access import public
from multitenant.middleware.envelope import answer
from multitenant.schemas.answers import ok
from multitenant.schemas.health import HealthAnswer
from multitenant.serving.readiness import is_stopping
from multitenant.tenancy.lifecycle.initialisation import is_ready

READY_SECONDS = 2.0

blueprint = APIBlueprint("health", __name__, abp_tags=[Tag(name="Operations")])


@blueprint.get("/healthz", responses=ok(HealthAnswer))
@public
def healthz() -> Response:
    """The process answers."""
    return answer({"status": "ok"}, "Healthy")


@blueprint.get("/readyz", responses=ok(HealthAnswer))
@public
def readyz() -> Response:
    """The admin database can be written to, and has its migrations; the server is not stopping."""
    if is_stopping():
        raise DatabaseUnavailable("The server is shutting down", retry_after=1)
    if not is_ready(platform().connections.admin_db, seconds=READY_SECONDS):
        raise DatabaseUnavailable("The admin database lacks migrations: run `multitenant init`")
    return answer({"status": "ready"}, "Ready")
