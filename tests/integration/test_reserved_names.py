"""Subdomains that no tenant gets, and names of which nothing can be seen."""

import pytest

from tests.conftest import MakeWorld
from tests.support import World, answer, refusal

RESERVED = [
    *("autodiscover", "autoconfig", "wpad", "isatap", "mta-sts", "mtasts", "smtp", "smtp2"),
    *("imap", "pop3", "mail", "mail-1", "webmail", "mx", "mx1", "mx-10", "ns", "ns1", "ns22"),
    *("dns", "www", "www2", "web-mail", "api", "admin", "login", "log-in", "auth", "sso"),
    *("oauth2", "status", "postmaster", "hostmaster", "ssladmin", "ftp", "vpn", "db1"),
    *("localhost", "openpgpkey", "Wpad", "LOGIN"),
    *("info", "sales", "noreply", "ip6-localhost", "broadcasthost", "msoid", "sts", "adfs"),
    *("caldav", "carddav1", "smtp-in-2", "mail-01", "administrator", "super-admin", "apis"),
    *("api-v2", "v1", "cpanel", "webdisk", "cpcontacts", "accounts", "cdn-2", "s3", "k8s"),
    *("l0gin", "1ogin", "adm1n", "supp0rt", "p4ssword", "5tatus"),
]
ENCODED = ["xn--80ak6aa92e", "xn--lobex-qmc", "XN--acme-x", "bq--acme", "zz--"]
FREE = ["acme-1", "nsa", "mxyz", "loginovo", "statusquo", "a--b", "x1"]
DISGUISED = [
    *("Ac\u200bme", "Acme\u202e", "\u202eemcA", "\u2066Acme\u2069", "Ac\u00adme", "\ufeffAcme"),
    *("Acme\u200f", "Ac\u2060me", "Acme\U000e0041", "Ac\u061cme"),
]
UNSEEN = [
    *("\u202e\u202d", "\u2066\u2069", "\ufeff", "\u2028", "\u3000\u00a0", "\ufff9\ufffb", "\u061c"),
    *("\u17b4\u17b5", "\U000e0100", "\u303f", "\ufffc", "\u206f", "\U0001bca0", "\U0001d173"),
    *("\u3164", "\u115f", "\u1160", "\u2800", "\uffa0", "\u200b", "\u00ad", "\u2060", "\u034f"),
    *("\U0001d159", "\ufe0f", "\U000e0041", "\u0301", "\u180e", "\ue000", "\u2800\u3164 \u115f"),
]


@pytest.mark.parametrize("label", [*RESERVED, *ENCODED])
def test_nobody_gets_a_label_that_means_something_else(shared: World, label: str) -> None:
    fields = {"name": "Acme", "email": "owner@acme.example", "subdomain": label}
    details = refusal(shared.operator.post("/api/add", fields), 422, "validation_failed")
    assert details["incorrectField"] == "subdomain"
    path = f"/api/tenants/{shared.operator.tenant_id}"
    details = refusal(shared.operator.patch(path, {"subdomain": label}), 422, "validation_failed")
    assert details["incorrectField"] == "subdomain"


def test_what_only_looks_a_little_like_one_is_free(shared: World) -> None:
    path = f"/api/tenants/{shared.tenant('Initech').tenant_id}"
    for label in FREE:
        changed = answer(shared.operator.patch(path, {"subdomain": label}))
        assert changed["subdomain"] == label


def test_a_tenant_keeps_the_label_that_it_had_before_that_was_reserved(
    make_world: MakeWorld,
) -> None:
    world = make_world(base_domain="saas.example")
    owner, other = world.tenant("Acme"), world.tenant("Globex")
    world.admin_db["tenants"].update_one({"name": "Acme"}, {"$set": {"subdomain": "status"}})
    for host, statuses in (("status.saas.example", (200, 403)), ("login.saas.example", (200, 200))):
        answers = [it.get("/api/users/me", headers={"Host": host}) for it in (owner, other)]
        assert tuple(it.status_code for it in answers) == statuses


@pytest.mark.parametrize("text", UNSEEN, ids=ascii)
def test_a_name_or_title_has_something_to_be_seen(shared: World, text: str) -> None:
    owner = shared.owner = shared.owner or shared.tenant("Acme")
    add = {"name": text, "email": "x@acme.example"}
    refusal(shared.operator.post("/api/add", add), 422, "validation_failed")
    for path, body in (
        ("/api/to-do-list", {"title": text}),
        ("/api/employees", {"name": text, "email": "x@acme.example"}),
        ("/api/posts", {"title": text, "content": "x"}),
        ("/api/posts", {"title": "x", "content": text}),
        ("/api/orders", {"items": [{"name": text, "quantity": 1, "price": "1.00"}]}),
    ):
        refusal(owner.post(path, body), 422, "validation_failed")


@pytest.mark.parametrize("name", DISGUISED, ids=ascii)
def test_no_tenant_has_a_name_that_looks_like_another_one(shared: World, name: str) -> None:
    fields = {"name": name, "email": "owner@acme.example"}
    details = refusal(shared.operator.post("/api/add", fields), 422, "validation_failed")
    assert details["incorrectField"] == "name"
