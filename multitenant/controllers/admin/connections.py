"""What a process has open to MongoDB, for operators."""

from flask import Response
from flask_openapi3 import APIBlueprint, Tag

from multitenant.extensions import platform
from multitenant.middleware.access import operator_only
from multitenant.middleware.envelope import answer
from multitenant.schemas.admin.connections import ConnectionsAnswer
from multitenant.schemas.answers import ok
from multitenant.tenancy.routing.connection_report import report_connections

blueprint = APIBlueprint(
    "connections", __name__, url_prefix="/api", abp_tags=[Tag(name="Operations")]
)


@blueprint.get("/connections", responses=ok(ConnectionsAnswer))
@operator_only
def show_connections() -> Response:
    """Show the connections of the process that answers: cache, clients, sockets and budget."""
    built = platform()
    report = report_connections(built.connections, budget=built.settings.connection_budget)
    return answer(report, "Connections")
