"""POST /api/login."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from bson import ObjectId

from tests.support import OPERATOR_EMAIL, OPERATOR_PASSWORD, PASSWORD, World, answer, refusal


def test_the_operator_logs_in_with_role_operator(world: World) -> None:
    response = world.client.post(
        "/api/login", json={"email": OPERATOR_EMAIL, "password": OPERATOR_PASSWORD}
    )

    session = answer(response)
    assert response.get_json()["message"] == "Logged In Successfully"
    assert set(session) == {"accessToken", "refreshToken", "userId", "tenantId", "role"}
    assert session["role"] == "operator"


def test_the_owner_of_a_tenant_logs_in_and_is_its_owner(world: World) -> None:
    made = answer(world.add(name="Acme", email="owner@acme.example", password=PASSWORD))

    session = answer(
        world.client.post(
            "/api/login", json={"email": " Owner@ACME.example ", "password": PASSWORD}
        )
    )

    assert session["tenantId"] == made["tenantId"]
    assert session["userId"] == made["userId"]
    assert session["role"] == "owner"


@pytest.mark.parametrize(
    ("email", "password"),
    [
        ("nobody@acme.example", PASSWORD),
        ("owner@acme.example", "wrong password"),
        ("owner@acme.example", "x"),
    ],
)
def test_unknown_email_and_wrong_password_answer_alike(
    world: World, email: str, password: str
) -> None:
    world.tenant("Acme")

    response = world.client.post("/api/login", json={"email": email, "password": password})

    details = refusal(response, 401, "credentials_invalid")
    assert details["incorrectField"] == "credentials"
    assert response.get_json()["message"] == "Invalid email or password"


def test_a_disabled_user_a_deleted_tenant_and_an_invited_user_answer_like_a_wrong_password(
    world: World,
) -> None:
    disabled, deleted = world.tenant("Disabled"), world.tenant("Deleted")
    world.db_of(disabled.tenant_id)["users"].update_one(
        {"_id": ObjectId(disabled.user_id)}, {"$set": {"status": "disabled"}}
    )
    world.set_status(deleted.tenant_id, "deleted")
    world.add(name="Invited", email="owner@invited.example")

    for name in ("disabled", "deleted", "invited"):
        body = {"email": f"owner@{name}.example", "password": PASSWORD}
        response = world.client.post("/api/login", json=body)
        assert refusal(response, 401, "credentials_invalid")["incorrectField"] == "credentials"


def test_a_suspended_tenant_is_told_only_to_who_knows_the_password(world: World) -> None:
    owner = world.tenant("Acme")
    world.set_status(owner.tenant_id, "suspended")

    right = world.client.post(
        "/api/login", json={"email": "owner@acme.example", "password": PASSWORD}
    )
    wrong = world.client.post(
        "/api/login", json={"email": "owner@acme.example", "password": "wrong password"}
    )

    refusal(right, 403, "tenant_suspended")
    refusal(wrong, 401, "credentials_invalid")


def test_every_refused_login_costs_exactly_one_hash(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time a login takes is that of its hash; so none may be spared, whoever asks."""
    world.tenant("Acme")
    hashes = []

    def count(password: bytes, hashed: bytes) -> bool:
        hashes.append(hashed)
        return False

    monkeypatch.setattr("multitenant.security.passwords.bcrypt.checkpw", count)

    for email in ("nobody@acme.example", "owner@acme.example"):
        hashes.clear()
        world.client.post("/api/login", json={"email": email, "password": PASSWORD})
        assert len(hashes) == 1
        assert hashes[0].startswith(b"$2b$04$"), "the cost must be the configured one"


def test_an_email_in_several_tenants_needs_the_tenant_when_the_password_fits_in_more(
    world: World,
) -> None:
    for name in ("Acme", "Globex"):
        body = {"name": name, "email": "both@example.com", "password": PASSWORD}
        assert world.operator.post("/api/add", body).status_code == 201
    credentials = {"email": "both@example.com", "password": PASSWORD}

    response = world.client.post("/api/login", json=credentials)

    assert refusal(response, 409, "tenant_required")["incorrectField"] == "tenant"


@pytest.mark.parametrize("way", ["id", "subdomain", "name", "header", "host", "domain"])
def test_every_way_to_name_the_tenant_leads_to_it(world: World, way: str) -> None:
    ids = {}
    for name in ("Acme", "Globex"):
        made = answer(
            world.add(
                name=name, email="both@example.com", password=PASSWORD, subdomain=name.lower()
            )
        )
        ids[name] = made["tenantId"]
    wanted = ids["Globex"]
    world.operator.patch(f"/api/tenants/{wanted}", {"domains": ["app.globex.example"]})
    body = {"email": "both@example.com", "password": PASSWORD}
    headers = {}
    if way in ("id", "subdomain", "name"):
        body["tenant"] = {"id": wanted, "subdomain": "globex", "name": "GLOBEX"}[way]
    if way == "header":
        headers["X-Tenant-Id"] = wanted
    if way in ("host", "domain"):
        headers["Host"] = {"host": "globex.localhost:5000", "domain": "App.Globex.example"}[way]

    response = world.client.post("/api/login", json=body, headers=headers)

    assert answer(response)["tenantId"] == wanted


def test_the_one_tenant_in_which_the_password_fits_is_taken(world: World) -> None:
    world.add(name="Acme", email="both@example.com", password=PASSWORD)
    second = answer(world.add(name="Globex", email="both@example.com", password="another one"))

    assert world.login("both@example.com", "another one").tenant_id == second["tenantId"]


def test_naming_a_tenant_one_does_not_belong_to_answers_like_a_wrong_password(
    world: World,
) -> None:
    world.tenant("Acme")
    other = world.tenant("Globex")
    body = {"email": "owner@acme.example", "password": PASSWORD, "tenant": other.tenant_id}

    refusal(world.client.post("/api/login", json=body), 401, "credentials_invalid")


def test_cookies_carry_the_tokens_and_demand_the_csrf_header(world: World) -> None:
    world.tenant("Acme")
    browser = world.app.test_client()

    response = browser.post(
        "/api/login",
        json={"email": "owner@acme.example", "password": PASSWORD, "useCookies": True},
    )

    values = {"csrfToken", "refreshCsrfToken"}
    assert set(answer(response)) == {"userId", "tenantId", "role"} | values
    cookies = response.headers.getlist("Set-Cookie")
    tokens = [cookie for cookie in cookies if "_token_cookie=" in cookie]
    assert len(tokens) == 2
    assert all("HttpOnly" in cookie and "SameSite=Strict" in cookie for cookie in tokens)
    life = world.platform.settings.refresh_token_seconds
    assert all(f"Max-Age={life};" in cookie for cookie in cookies)
    assert browser.get("/api/users/me").status_code == 200
    refusal(browser.post("/api/to-do-list", json={"title": "x"}), 403, "csrf_failed")
    csrf = browser.get_cookie("csrf_access_token")
    assert csrf is not None
    headers = {"X-CSRF-TOKEN": csrf.value}
    posted = browser.post("/api/to-do-list", json={"title": "x"}, headers=headers)
    assert posted.status_code == 201


def test_a_flood_of_logins_leaves_threads_for_everything_else(world: World) -> None:
    hasher = world.platform.authenticator._hasher
    taken = [hasher._places.acquire(blocking=False) for _ in range(1000)]
    try:
        response = world.client.post(
            "/api/login", json={"email": "a@acme.example", "password": PASSWORD}
        )
        refusal(response, 429, "rate_limited")
        assert int(response.headers["Retry-After"]) > 0
        assert world.client.get("/readyz").status_code == 200
    finally:
        for _ in range(taken.count(True)):
            hasher._places.release()


def test_many_logins_at_once_all_succeed(world: World) -> None:
    world.tenant("Acme")
    with ThreadPoolExecutor(16) as pool:
        users = list(pool.map(lambda _: world.login("owner@acme.example"), range(32)))
    assert len({user.access for user in users}) == 32


def test_an_email_in_many_tenants_costs_a_bounded_number_of_hashes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashes = []
    for number in range(7):
        body = {"name": f"T{number}", "email": "many@example.com", "password": f"password {number}"}
        last = answer(world.operator.post("/api/add", body))["tenantId"]

    def count(password: bytes, hashed: bytes) -> bool:
        hashes.append(hashed)
        return False

    monkeypatch.setattr("multitenant.security.passwords.bcrypt.checkpw", count)
    body = {"email": "many@example.com", "password": "password 6"}
    details = refusal(world.client.post("/api/login", json=body), 409, "tenant_required")
    assert details["incorrectField"] == "tenant"
    assert len(hashes) == 1
    monkeypatch.undo()
    assert world.login("many@example.com", "password 6", tenant=last).tenant_id == last


def test_an_email_in_five_tenants_is_tried_in_all_of_them(world: World) -> None:
    made = {}
    for number in range(5):
        body = {"name": f"T{number}", "email": "many@example.com", "password": f"password {number}"}
        made[number] = answer(world.operator.post("/api/add", body))["tenantId"]
    for number, tenant_id in made.items():
        assert world.login("many@example.com", f"password {number}").tenant_id == tenant_id


def test_what_is_a_subdomain_and_a_name_means_the_tenant_of_the_subdomain(world: World) -> None:
    """Unless the password is that of the other one alone."""
    both = {"email": "amb@example.com", "password": PASSWORD}
    foo = answer(world.add(name="Foo", subdomain="bar", **both))["tenantId"]
    bar = answer(world.add(name="Bar", **{**both, "email": "amb@example.com"}))["tenantId"]
    for text, meant in (("bar", foo), ("Foo", foo), (bar, bar), (foo.upper(), foo)):
        assert world.login("amb@example.com", PASSWORD, tenant=text).tenant_id == meant
    user = world.login("amb@example.com", PASSWORD, tenant=bar)
    change = {"currentPassword": PASSWORD, "newPassword": "another password"}
    assert user.put("/api/users/me/password", change).status_code == 200
    assert world.login("amb@example.com", "another password", tenant="bar").tenant_id == bar


def test_a_tenant_cannot_be_named_like_an_id(world: World) -> None:
    victim = world.tenant("Acme")
    for field in ("name", "subdomain"):
        body = {"name": "Evil", "email": "owner@acme.example", field: victim.tenant_id}
        details = refusal(world.operator.post("/api/add", body), 422, "validation_failed")
        assert details["incorrectField"] == field


def test_an_invitation_is_not_accepted_under_the_name_of_another_tenant(world: World) -> None:
    other = world.tenant("Globex", subdomain="globex")
    made = answer(world.add(name="Acme", email="owner@acme.example"))
    body = {"token": made["invitationToken"], "password": PASSWORD}
    for headers in ({"Host": "globex.localhost"}, {"X-Tenant-Id": other.tenant_id}):
        response = world.client.post("/api/invitations/accept", json=body, headers=headers)
        refusal(response, 403, "tenant_mismatch")
    assert world.client.post("/api/invitations/accept", json=body).status_code == 200
