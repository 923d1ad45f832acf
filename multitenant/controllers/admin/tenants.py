"""Tenants, for operators."""

import hashlib

from flask import Response
from flask_openapi3 import APIBlueprint, Tag

from multitenant.controllers.paging import answer_page
from multitenant.extensions import platform
from multitenant.middleware.access import operator_only
from multitenant.middleware.envelope import answer
from multitenant.middleware.request_context import current_actor, current_claims, current_user
from multitenant.openapi import refuses
from multitenant.repositories.model import MongoDatabase
from multitenant.schemas.admin.tenants import (
    AddedTenantAnswer,
    AddHeaders,
    Impersonation,
    ImpersonationAnswer,
    NewTenant,
    Purge,
    PurgeAnswer,
    TenantAnswer,
    TenantChanges,
    TenantQuery,
)
from multitenant.schemas.answers import created, ok, page_of
from multitenant.schemas.payload import IdPath
from multitenant.services.admin import tenants as service

blueprint = APIBlueprint("tenants", __name__, url_prefix="/api", abp_tags=[Tag(name="Tenants")])


@blueprint.post("/add", responses=created(AddedTenantAnswer))
@operator_only
@refuses("already_exists", "conflict", "rate_limited")
def add(header: AddHeaders, body: NewTenant) -> Response:
    """Add a tenant with its own database and first user."""
    return _add_tenant(header, body)


@blueprint.post("/tenants", responses=created(AddedTenantAnswer))
@operator_only
@refuses("already_exists", "conflict", "rate_limited")
def add_tenant(header: AddHeaders, body: NewTenant) -> Response:
    """Add a tenant with its own database and first user (the same as `POST /api/add`)."""
    return _add_tenant(header, body)


@blueprint.get("/tenants", responses=page_of(TenantAnswer))
@operator_only
def list_tenants(query: TenantQuery) -> Response:
    """List tenants."""
    return answer_page(service.list_tenants(_admin_db(), query), TenantAnswer, "Tenants")


@blueprint.get("/tenants/<id>", responses=ok(TenantAnswer))
@operator_only
def get_tenant(path: IdPath) -> Response:
    """Show a tenant."""
    return answer(TenantAnswer.of(service.get_tenant(_admin_db(), path.id)), "Tenant")


@blueprint.patch("/tenants/<id>", responses=ok(TenantAnswer))
@operator_only
@refuses("already_exists", "conflict")
def change_tenant(path: IdPath, body: TenantChanges) -> Response:
    """Change a tenant."""
    changed = platform().lifecycle.change(path.id, body, current_actor())
    return answer(TenantAnswer.of(changed), "Tenant changed successfully")


@blueprint.delete("/tenants/<id>", responses=ok(TenantAnswer))
@operator_only
@refuses("conflict")
def delete_tenant(path: IdPath) -> Response:
    """Delete a tenant: nobody can work in it, and it can be restored."""
    return _move(path, "delete", "Tenant deleted; it can be restored until it is purged")


@blueprint.post("/tenants/<id>/restore", responses=ok(TenantAnswer))
@operator_only
@refuses("conflict")
def restore_tenant(path: IdPath) -> Response:
    """Restore a deleted tenant."""
    return _move(path, "restore", "Tenant restored")


@blueprint.post("/tenants/<id>/suspend", responses=ok(TenantAnswer))
@operator_only
@refuses("conflict")
def suspend_tenant(path: IdPath) -> Response:
    """Suspend a tenant: within a second every process refuses its users."""
    return _move(path, "suspend", "Tenant suspended")


@blueprint.post("/tenants/<id>/activate", responses=ok(TenantAnswer))
@operator_only
@refuses("conflict")
def activate_tenant(path: IdPath) -> Response:
    """Activate a suspended tenant."""
    return _move(path, "activate", "Tenant activated")


@blueprint.post("/tenants/<id>/rotate-credentials", responses=ok(TenantAnswer))
@operator_only
@refuses("conflict")
def rotate_credentials(path: IdPath) -> Response:
    """Give a dedicated tenant a new MongoDB user, while it works."""
    changed = platform().lifecycle.rotate_credentials(path.id, current_actor())
    return answer(
        TenantAnswer.of(changed), "Credentials rotated; the old ones are on their way out"
    )


@blueprint.post("/tenants/<id>/impersonate", responses=ok(ImpersonationAnswer))
@operator_only
@refuses("conflict")
def impersonate(path: IdPath, body: Impersonation) -> Response:
    """Get a short token of a tenant's user, to see what they see; the audit log keeps why."""
    built = platform()
    token = built.authenticator.impersonate(
        current_claims(), path.id, body.user_id, body.reason, current_actor()
    )
    result = {
        "accessToken": token,
        "expiresIn": built.tokens.impersonation_seconds,
        "userId": str(body.user_id),
        "tenantId": str(path.id),
    }
    return answer(result, "Acting as the user; every request is logged under your name")


@blueprint.post("/tenants/<id>/purge", responses=ok(PurgeAnswer))
@operator_only
@refuses("conflict")
def purge_tenant(path: IdPath, body: Purge) -> Response:
    """Remove a deleted tenant for good: database, memberships, record."""
    gone = platform().lifecycle.purge(path.id, body.confirm, current_actor())
    return answer({"gone": gone}, "Tenant purged")


def _move(path: IdPath, action: str, message: str) -> Response:
    return answer(
        TenantAnswer.of(platform().lifecycle.move(path.id, action, current_actor())), message
    )


def _add_tenant(header: AddHeaders, body: NewTenant) -> Response:
    key = header.idempotency_key
    made = platform().provisioner.provision(
        body, idempotency_key=key and _own_key(key), actor=current_actor()
    )
    result = {"tenantId": str(made.tenant_id), "userId": str(made.user_id)}
    if made.invitation_token:
        result["invitationToken"] = made.invitation_token
    return answer(result, "Tenant added successfully", 201)


def _own_key(key: str) -> str:
    """The request's idempotency key, made this operator's own."""
    return hashlib.sha256(f"{current_user().id}\n{key}".encode()).hexdigest()


def _admin_db() -> MongoDatabase:
    return platform().connections.admin_db
