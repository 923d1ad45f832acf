"""A tenant's record, as requests know it: when it may be used, for what, by whom."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from bson import ObjectId

from multitenant.errors import (
    DomainError,
    ModuleDisabled,
    TenantMaintenance,
    TenantSuspended,
    TokenRevoked,
)
from multitenant.repositories.model import utc_now
from multitenant.tenancy.routing.tenant import Tenant

RECORD: dict[str, Any] = {
    "_id": ObjectId(),
    "name": "Acme",
    "dbName": "tenant_acme",
    "cluster": "blue",
    "isolation": "shared",
    "status": "active",
    "system": False,
}
ACME = Tenant.of(RECORD)


def test_what_a_record_lacks_is_absent() -> None:
    assert (
        Tenant(RECORD["_id"], "Acme", None, (), "tenant_acme", "blue", "shared", "active", False)
        == ACME
    )
    assert ACME.modules is None
    assert ACME.read_only is False


def test_every_field_of_a_record_is_read() -> None:
    until = utc_now()
    uri, credentials = {"keyId": "u"}, {"keyId": "c"}
    tenant = Tenant.of(
        {
            **RECORD,
            "subdomain": "acme",
            "domains": ["acme.example"],
            "system": True,
            "modules": ["todos"],
            "maintenanceUntil": until,
            "readOnly": True,
            "dbUri": uri,
            "credentials": credentials,
        }
    )
    assert tenant.subdomain == "acme"
    assert tenant.domains == ("acme.example",)
    assert tenant.system is True
    assert tenant.modules == frozenset({"todos"})
    assert tenant.maintenance_until == until
    assert tenant.read_only is True
    assert tenant.db_uri == uri
    assert tenant.credentials == credentials
    assert tenant.placement == ("blue", "shared", "tenant_acme", uri, credentials)


def test_its_secrets_are_not_shown() -> None:
    shown = repr(replace(ACME, db_uri={"keyId": "secret"}, credentials={"keyId": "secret"}))
    assert "secret" not in shown


@pytest.mark.parametrize(
    ("change", "refusal", "retry_after"),
    [
        ({"status": "suspended"}, TenantSuspended, None),
        ({"status": "provisioning"}, TenantSuspended, None),
        ({"status": "deleted"}, TokenRevoked, None),
        ({"status": "maintenance"}, TenantMaintenance, 5),
        ({"status": "maintenance", "read_only": True}, TenantMaintenance, 1),
    ],
)
def test_only_an_active_tenant_is_used(
    change: dict[str, Any], refusal: type[DomainError], retry_after: int | None
) -> None:
    with pytest.raises(refusal) as refused:
        replace(ACME, **change).ensure_usable()
    assert refused.value.retry_after == retry_after


def test_a_deleted_tenant_says_so() -> None:
    with pytest.raises(TokenRevoked, match="no longer exists"):
        replace(ACME, status="deleted").ensure_usable()


def test_a_tenant_in_maintenance_is_read_where_that_is_safe() -> None:
    copied = replace(ACME, status="maintenance", read_only=True)
    copied.ensure_usable(for_reading=True)
    with pytest.raises(TenantMaintenance) as refused:
        replace(copied, read_only=False).ensure_usable(for_reading=True)
    assert refused.value.retry_after == 5
    with pytest.raises(TenantSuspended):
        replace(ACME, status="suspended").ensure_usable(for_reading=True)


def test_maintenance_expires_at_its_time_and_refuses_until_its_record_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, moment = utc_now(), timedelta(milliseconds=1)
    monkeypatch.setattr("multitenant.tenancy.routing.tenant.utc_now", lambda: now)
    copied = replace(ACME, status="maintenance")
    for until, expired in ((now - moment, True), (now, True), (now + moment, False), (None, False)):
        tenant = replace(copied, maintenance_until=until)
        assert tenant.has_expired_maintenance is expired
        with pytest.raises(TenantMaintenance):
            tenant.ensure_usable()


@pytest.mark.parametrize("status", ["active", "suspended", "deleted"])
def test_only_a_maintenance_expires(status: str) -> None:
    over = utc_now() - timedelta(hours=1)
    assert replace(ACME, status=status, maintenance_until=over).has_expired_maintenance is False


def test_a_tenant_uses_the_modules_that_it_has_bought() -> None:
    ACME.ensure_has_module("todos")
    some = replace(ACME, modules=frozenset({"todos"}))
    some.ensure_has_module("todos")
    with pytest.raises(ModuleDisabled, match="'orders'"):
        some.ensure_has_module("orders")
    with pytest.raises(ModuleDisabled):
        replace(ACME, modules=frozenset()).ensure_has_module("todos")


def test_everyone_in_a_system_tenant_operates_and_nobody_elsewhere() -> None:
    assert ACME.role_of({"role": "admin"}) == "admin"
    assert replace(ACME, system=True).role_of({"role": "member"}) == "operator"
