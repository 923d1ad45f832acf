"""What is asked of every side: the data, and the requests, as bytes."""

import itertools
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import bcrypt
from bson import ObjectId

from multitenant import create_app
from multitenant.config import Settings
from multitenant.extensions import platform_of
from multitenant.repositories.model import Model, MongoDatabase
from multitenant.schemas.admin.tenants import NewTenant
from multitenant.schemas.tenant import DOCUMENTS
from multitenant.tenancy.lifecycle.initialisation import initialise

PASSWORD = "a password for benchmarks"
OPERATOR = "operator@example.com"
TODOS = 25
KEPT = 50_000
SEED = 20_261_121


@dataclass(frozen=True)
class Tenant:
    """A tenant to send requests as."""

    db_name: str
    email: str
    token: str
    other_token: str
    """Of another session of the same user."""


def seed(settings: Settings, count: int, *, first: int = 0) -> tuple[str, list[Tenant]]:
    """Make so many tenants, each with an owner and to-do items, and return the operator's token
    and them. All sides work on this data, with these tokens. `first` are there already."""
    app = create_app(settings)
    platform = platform_of(app)
    made = initialise(
        platform.connections,
        platform.provisioner,
        email=OPERATOR,
        password=settings.operator_password,
        made_up_password=lambda: PASSWORD,
    )
    assert made.operator_email or first
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(settings.bcrypt_rounds)).decode()
    now = datetime.now(UTC)
    items = [
        {
            "title": f"Item {number}",
            "done": False,
            "createdAt": now + timedelta(milliseconds=number),
            "updatedAt": now,
        }
        for number in range(TODOS)
    ]

    def token(user_id: ObjectId, tenant_id: ObjectId, role: str) -> str:
        with app.app_context():
            return platform.tokens.issue_pair(
                user_id=user_id, tenant_id=tenant_id, role=role, version=0, family=None
            ).access

    tenants = []
    for number in range(first, first + count):
        email = f"owner{number}@example.com"
        new = NewTenant.model_validate({"name": f"Tenant {number}", "email": email})
        with app.app_context():
            result = platform.provisioner.provision(new)
        db_name = f"{settings.tenant_db_prefix}{result.tenant_id}"
        db = platform.connections.admin_client[db_name]
        db["users"].update_one({}, {"$set": {"password": hashed, "status": "active"}})
        db["todos"].insert_many([{**item} for item in items])
        sessions = [token(result.user_id, result.tenant_id, "owner") for _ in range(2)]
        tenants.append(Tenant(db_name, email, *sessions))
    membership = platform.connections.admin_db["tenantusers"].find_one({"email": OPERATOR})
    assert membership is not None
    operator = token(membership["_id"], membership["tenantId"], "operator")
    platform.close(timeout=0)
    return operator, tenants


def tenant_indexes(db: MongoDatabase) -> dict[str, list[dict[str, Any]]]:
    """The collections of a tenant's database, such as `db`, with their indexes as MongoDB's
    createIndexes takes them. Whoever adds a tenant makes them all."""
    models = [Model(db, document) for document in DOCUMENTS]
    return {
        model.collection.name: [dict(index.document) for index in model.declared_indexes()]
        for model in models
    }


def request(method: str, path: str, token: str | None = None, body: Any = None) -> bytes:
    """Return an HTTP request, ready to send."""
    content = b"" if body is None else json.dumps(body).encode()
    head = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", "Accept: application/json"]
    if token:
        head.append(f"Authorization: Bearer {token}")
    if body is not None:
        head += ["Content-Type: application/json", f"Content-Length: {len(content)}"]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + content


def workloads(
    operator: str, tenants: list[Tenant], *, skewed: bool
) -> dict[str, Callable[[], bytes]]:
    """Return for each workload a function that answers its next request.

    The tenants take turns at random, all alike or, `skewed`, the n-th 1/n as often as the first.
    """
    chance = random.Random(SEED)  # no secret
    weights = [1 / rank if skewed else 1.0 for rank in range(1, len(tenants) + 1)]
    order = chance.choices(range(len(tenants)), weights, k=KEPT)

    def of(*kinds: Callable[[Tenant], bytes]) -> Callable[[], bytes]:
        made = [[kind(tenant) for tenant in tenants] for kind in kinds]
        which = chance.choices(range(len(kinds)), k=KEPT)
        steps: Iterator[bytes] = itertools.cycle(
            [made[kind][tenant] for kind, tenant in zip(which, order, strict=True)]
        )
        return steps.__next__

    def me(tenant: Tenant) -> bytes:
        return request("GET", "/api/users/me", tenant.token)

    def read(tenant: Tenant) -> bytes:
        return request("GET", "/api/to-do-list?limit=20", tenant.token)

    def write(tenant: Tenant) -> bytes:
        return request("POST", "/api/to-do-list", tenant.token, {"title": "Buy milk"})

    def login(tenant: Tenant) -> bytes:
        return request("POST", "/api/login", body={"email": tenant.email, "password": PASSWORD})

    def add() -> bytes:
        name = f"Added {ObjectId()}"
        body = {"name": name, "email": f"{ObjectId()}@example.com", "password": PASSWORD}
        return request("POST", "/api/add", operator, body)

    def invite() -> bytes:
        return request(
            "POST",
            "/api/add",
            operator,
            {"name": f"Added {ObjectId()}", "email": f"{ObjectId()}@example.com"},
        )

    return {
        "me": of(me),
        "list": of(read),
        "create": of(write),
        "mix": of(me, me, read, read, write),
        "login": of(login),
        "add": add,
        "add-8": add,
        "invite": invite,
        "invite-8": invite,
    }
