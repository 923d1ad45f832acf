"""Tenants, for operators."""

import hashlib

from flask import Response, request
from flask_openapi3 import APIBlueprint, Tag

from multitenant.controllers.paging import answer_page
from multitenant.errors import ValidationFailed
from multitenant.extensions import platform
from multitenant.middleware.access import operator_only
from multitenant.middleware.envelope import answer
from multitenant.middleware.request_context import current_user
from multitenant.repositories.model import MongoDatabase
from multitenant.schemas.admin.tenants import NewTenant, TenantAnswer, TenantChanges, TenantQuery
from multitenant.schemas.payload import IdPath
from multitenant.services.admin import tenants as service

IDEMPOTENCY_HEADER = "Idempotency-Key"

blueprint = APIBlueprint("tenants", __name__, url_prefix="/api", abp_tags=[Tag(name="Tenants")])


@blueprint.post("/add")
@operator_only
def add(body: NewTenant) -> Response:
    """Add a tenant with its own database and first user."""
    return _add_tenant(body)


@blueprint.post("/tenants")
@operator_only
def add_tenant(body: NewTenant) -> Response:
    """Add a tenant with its own database and first user (the same as `POST /api/add`)."""
    return _add_tenant(body)


@blueprint.get("/tenants")
@operator_only
def list_tenants(query: TenantQuery) -> Response:
    """List tenants."""
    return answer_page(service.list_tenants(_admin_db(), query), query, TenantAnswer, "Tenants")


@blueprint.get("/tenants/<id>")
@operator_only
def get_tenant(path: IdPath) -> Response:
    """Show a tenant."""
    return answer(TenantAnswer.of(service.get_tenant(_admin_db(), path.id)), "Tenant")


@blueprint.patch("/tenants/<id>")
@operator_only
def change_tenant(path: IdPath, body: TenantChanges) -> Response:
    """Change a tenant."""
    changed = service.change_tenant(_admin_db(), path.id, body)
    platform().connections.forget(path.id)
    platform().host_names.forget()
    return answer(TenantAnswer.of(changed), "Tenant changed successfully")


def _add_tenant(body: NewTenant) -> Response:
    made = platform().provisioner.provision(body, idempotency_key=_idempotency_key())
    result = {"tenantId": str(made.tenant_id), "userId": str(made.user_id)}
    if made.invitation_token:
        result["invitationToken"] = made.invitation_token
    return answer(result, "Tenant added successfully", 201)


def _idempotency_key() -> str | None:
    """The request's key, made this operator's own; None without one."""
    key = request.headers.get(IDEMPOTENCY_HEADER)
    if key is None:
        return None
    if not 1 <= len(key) <= 255 or not key.isprintable():
        message = "must have 1 to 255 printable characters"
        raise ValidationFailed(
            f"{IDEMPOTENCY_HEADER} {message}",
            incorrect_field=IDEMPOTENCY_HEADER,
            errors=[{"field": IDEMPOTENCY_HEADER, "message": message}],
        )
    return hashlib.sha256(f"{current_user().id}\n{key}".encode()).hexdigest()


def _admin_db() -> MongoDatabase:
    return platform().connections.admin_db
