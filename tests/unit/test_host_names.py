"""Which tenant a host name stands for."""

from typing import Any

import mongomock
import pytest
from bson import ObjectId

from multitenant.tenancy.routing.host_names import NOBODY, HostNames, NamedTenant, subject_of
from multitenant.tenancy.routing.recent_answers import RecentAnswers, nobody_vouches

ACME = ObjectId()


@pytest.fixture
def db(monkeypatch: pytest.MonkeyPatch) -> Any:
    # mongomock does not know the options for data that is odd, and there is none here.
    monkeypatch.setattr("multitenant.repositories.model.LENIENT", None)
    database: Any = mongomock.MongoClient()["admin_db"]
    database["tenants"].insert_one(
        {"_id": ACME, "subdomain": "acme", "domains": ["app.acme.example", "acme.test"]}
    )
    return database


def names(db: Any, base_domain: str = "saas.example", stale_seconds: float = 60) -> HostNames:
    recent = RecentAnswers[str, NamedTenant](
        10, stale_seconds=stale_seconds, vouches=nobody_vouches, subject=subject_of
    )
    return HostNames(lambda: db, recent, base_domain=base_domain)


@pytest.mark.parametrize(
    ("host", "named"),
    [
        ("acme.saas.example", NamedTenant(True, ACME)),
        ("ACME.SaaS.example:443", NamedTenant(True, ACME)),
        ("acme.saas.example.", NamedTenant(True, ACME)),
        ("nobody.saas.example", NamedTenant(True, None)),
        ("x.acme.saas.example", NamedTenant(True, None)),
        ("app.acme.example", NamedTenant(True, ACME)),
        ("saas.example", NOBODY),
        ("www.saas.example", NOBODY),
        ("evil-saas.example", NOBODY),
        ("elsewhere.example", NOBODY),
        ("localhost:5000", NOBODY),
        ("127.0.0.1:5000", NOBODY),
        ("[::1]:5000", NOBODY),
        ("10.1.2.3", NOBODY),
        ("", NOBODY),
        (":5000", NOBODY),
        ("[", NOBODY),
        ("\u00fc\u00fc", NOBODY),
    ],
)
def test_a_host_names_a_tenant_or_none(db: Any, host: str, named: NamedTenant) -> None:
    assert names(db).tenant_of(host) == named


def test_without_a_base_domain_only_custom_domains_name_a_tenant(db: Any) -> None:
    hosts = names(db, base_domain="")
    assert hosts.tenant_of("acme.saas.example") == NOBODY
    assert hosts.tenant_of("acme.test") == NamedTenant(True, ACME)


def test_an_answer_is_kept_until_it_is_stale_or_forgotten(db: Any) -> None:
    hosts, watchful = names(db), names(db, stale_seconds=-1)
    for reader in (hosts, watchful):
        assert reader.tenant_of("acme.test") == NamedTenant(True, ACME)
    db["tenants"].delete_many({})
    assert hosts.tenant_of("acme.test") == NamedTenant(True, ACME)
    assert watchful.tenant_of("acme.test") == NOBODY
    hosts.forget()
    assert hosts.tenant_of("acme.test") == NOBODY
