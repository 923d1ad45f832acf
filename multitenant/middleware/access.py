"""Who may call a view. A view without a mark is for users of an active tenant."""

from collections.abc import Callable
from enum import Enum
from typing import Any, TypeVar

from flask.sansio.blueprints import Blueprint

View = TypeVar("View", bound=Callable[..., Any])
AnyBlueprint = TypeVar("AnyBlueprint", bound=Blueprint)

_ATTRIBUTE = "__access__"
_ROLES = "__roles__"
_MODULE = "__tenant_module__"


class Access(Enum):
    """Kinds of views."""

    TENANT = "tenant"
    OPERATOR = "operator"
    REFRESH = "refresh"
    PUBLIC = "public"


def public(view: View) -> View:
    """Mark a view that anybody may call, without a token."""
    setattr(view, _ATTRIBUTE, Access.PUBLIC)
    return view


def operator_only(view: View) -> View:
    """Mark a view that only operators may call."""
    setattr(view, _ATTRIBUTE, Access.OPERATOR)
    return view


def with_refresh_token(view: View) -> View:
    """Mark the view that takes a refresh token instead of an access token."""
    setattr(view, _ATTRIBUTE, Access.REFRESH)
    return view


def requires_role(*roles: str) -> Callable[[View], View]:
    """Mark a view that, in a tenant, only users of these roles may call. (Whoever is in a system
    tenant operates the platform, and may.)"""

    def mark(view: View) -> View:
        setattr(view, _ROLES, frozenset(roles))
        return view

    return mark


def in_module(module: str, blueprint: AnyBlueprint) -> AnyBlueprint:
    """Mark a blueprint whose views are only for tenants that have bought the module."""
    setattr(blueprint, _MODULE, module)
    return blueprint


def access_of(view: Callable[..., Any]) -> Access:
    """Return how the view is marked; TENANT when it is not."""
    access: Access = getattr(view, _ATTRIBUTE, Access.TENANT)
    return access


def roles_of(view: Callable[..., Any]) -> frozenset[str] | None:
    """Return the roles that the view is marked with; None when any will do."""
    roles: frozenset[str] | None = getattr(view, _ROLES, None)
    return roles


def module_of(blueprint: Blueprint | None) -> str | None:
    """Return the module that the blueprint is marked with; None when every tenant has it."""
    module: str | None = getattr(blueprint, _MODULE, None)
    return module
