"""What the middleware has put in place for the view, with types."""

from dataclasses import dataclass

from bson import ObjectId
from flask import g, request

from multitenant.repositories.model import MongoDatabase
from multitenant.security.tokens import Claims
from multitenant.tenancy.actor import Actor
from multitenant.tenancy.routing.tenant import Tenant


@dataclass(frozen=True, slots=True)
class CurrentUser:
    """Who is asking, by their token."""

    id: ObjectId
    role: str


def current_db() -> MongoDatabase:
    """The tenant's database (`g.db`)."""
    db: MongoDatabase = g.db
    return db


def current_tenant() -> Tenant:
    """The tenant (`g.tenant`)."""
    tenant: Tenant = g.tenant
    return tenant


def current_user() -> CurrentUser:
    """The user (`g.user`)."""
    user: CurrentUser = g.user
    return user


def current_actor() -> Actor:
    """The user, as the audit log names them; with impersonation, the operator behind them."""
    impersonator = current_claims().impersonator
    if impersonator is None:
        return Actor(current_user().id, g.request_id, request.remote_addr)
    return Actor(
        impersonator.user_id, g.request_id, request.remote_addr, acting_as=current_user().id
    )


def unknown_actor() -> Actor:
    """Whoever sent this request, before it is known who that is."""
    return Actor(None, g.request_id, request.remote_addr)


def current_claims() -> Claims:
    """All that the token says (`g.claims`)."""
    claims: Claims = g.claims
    return claims
