"""The audit log, for operators."""

from flask import Response
from flask_openapi3 import APIBlueprint, Tag

from multitenant.controllers.paging import answer_page
from multitenant.extensions import platform
from multitenant.middleware.access import operator_only
from multitenant.schemas.admin.audit import AuditAnswer, AuditQuery
from multitenant.schemas.answers import page_of
from multitenant.services.admin import audit as service

blueprint = APIBlueprint("audit", __name__, url_prefix="/api", abp_tags=[Tag(name="Audit")])


@blueprint.get("/audit", responses=page_of(AuditAnswer))
@operator_only
def list_audit(query: AuditQuery) -> Response:
    """List what was done, newest first."""
    found = service.list_audit(platform().connections.admin_db, query)
    return answer_page(found, AuditAnswer, "Audit log")
