"""Every query of the admin database and of a tenant's uses an index, and looks at what it returns.

Each function of the repositories is called where there are a thousand documents of every kind, and
MongoDB is asked what it does for each command.
"""

import inspect
import pkgutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from importlib import import_module
from itertools import product
from types import ModuleType
from typing import Any

import pytest
from bson import Decimal128, ObjectId

from multitenant.repositories import admin as admin_repositories
from multitenant.repositories import tenant as tenant_repositories
from multitenant.repositories import turns
from multitenant.repositories.admin import (
    audit,
    changes,
    clusters,
    encrypted_fields,
    handshakes,
    heartbeats,
    idempotency_keys,
    locks,
    provisionings,
    revocations,
    tenant_users,
    tenants,
    token_lives,
)
from multitenant.repositories.model import MongoDatabase
from multitenant.repositories.tenant import comments, employees, orders, posts, settings, todos
from multitenant.repositories.tenant import users as tenant_users_own
from multitenant.schemas.admin.audit import AuditQuery
from multitenant.schemas.admin.tenants import TenantQuery
from multitenant.schemas.paging import Page, PageQuery
from multitenant.services.admin.audit import list_audit
from tests.conftest import Client
from tests.query_plans import Plan, plans_of
from tests.support import PASSWORD, World

MANY = 1000
START = datetime(2026, 1, 1, tzinfo=UTC)
SPARE = 25
"""So many documents, or keys, may be looked at besides those that are returned."""


def at(number: int) -> datetime:
    return START + timedelta(minutes=number)


class Platform:
    """Where there is much of everything: a document's fields tell it by its number."""

    def __init__(self, admin_db: MongoDatabase, db: MongoDatabase) -> None:
        self.admin_db, self.db = admin_db, db
        self.ids = [ObjectId() for _ in range(MANY)]
        """Of tenants, and of whatever else."""
        for fill in (self._fill_admin, self._fill_tenant):
            fill()

    def _fill_admin(self) -> None:
        self._insert(
            self.admin_db,
            tenants=lambda n: {
                "name": f"Tenant {n}",
                "subdomain": f"tenant-{n}",
                "domains": [f"{n}.example"],
                "dbName": f"db{n}",
                "cluster": "default" if n % 50 else "red",
                "isolation": "shared",
                "status": "active" if n % 50 != 1 else ("deleted", "maintenance")[n // 50 % 2],
                "deletedAt": at(n),
                "maintenanceUntil": at(n),
                "maintenanceHolder": f"holder {n}",
                "schemaVersion": 5 if n % 100 else 4,
                "credentials": None if n % 100 else {"keyId": "old", "data": "x"},
                "system": False,
            },
            tenantusers=lambda n: {
                "email": f"user{n % 500}@example.com",
                "tenantId": self.ids[n // 10],
                **({"userId": ObjectId()} if n % 2 else {}),
            },
            provisionings=lambda n: {
                "dbName": f"noted{n}",
                "cluster": "default" if n % 50 else "red",
                "hasUsers": False,
                "startedAt": at(n),
                "purged": n < 800,
                **({"preparedVersion": 5} if n > 990 else {}),
                **({"kept": True, "tenantId": self.ids[n]} if n % 50 == 2 else {}),
                **({"tenantId": self.ids[n]} if n % 100 == 3 else {}),
                **({"droppingSince": at(n)} if n < 600 else {}),
            },
            revocations=lambda n: {
                "_id": f"{self.ids[n // 10]}/{ObjectId()}",
                "version": n,
                "expiresAt": datetime.now(UTC) + timedelta(days=1),
                **({"exceptFamily": "one"} if n % 2 else {}),
            },
            idempotencykeys=lambda n: {
                "_id": f"key {n}",
                "tenantId": self.ids[n],
                "expiresAt": datetime.now(UTC) + timedelta(days=1),
            },
            audit=lambda n: {
                "at": at(n),
                "actor": self.ids[n % 20],
                "action": f"{'tenant' if n % 50 else 'cluster'}.{'add' if n % 25 else 'suspend'}",
                "outcome": "success" if n % 40 else "failure",
                "tenantId": self.ids[n % 30],
                "requestId": "r",
            },
            processes=lambda n: {
                "_id": f"process {n}",
                "seenAt": at(n) if n < 9 else datetime.now(UTC),
            },
            locks=lambda n: {"_id": f"lock {n}", "holder": f"holder {n}", "until": at(n)},
            turns=lambda n: {"taken": 1},
        )

        # Few, since the process answers each.
        self.admin_db["handshakes"].insert_many(
            {"_id": id_, "tenantId": id_, "answered": []} for id_ in self.ids[:40]
        )

    def _fill_tenant(self) -> None:
        self._insert(
            self.db,
            todos=lambda n: {"title": "x", "done": False},
            employees=lambda n: {"name": "x", "email": f"{n}@example.com"},
            posts=lambda n: {
                "title": "x",
                "published": n % 2 == 0,
                **({"deletedAt": at(n)} if n % 20 > 15 else {}),
            },
            comments=lambda n: {"postId": self.ids[n // 10], "content": "x"},
            orders=lambda n: {"total": Decimal128("1")},
            orderItems=lambda n: {"orderId": self.ids[n // 5], "position": n % 5},
            settings=lambda n: {"key": f"key{n}", "value": n},
            users=lambda n: {
                "email": f"{n}@example.com",
                "role": "member" if n else "owner",
                "status": "active",
                "password": "x",
                "tokenVersion": 0,
            },
        )

    def _insert(self, db: MongoDatabase, **kinds: Callable[[int], dict[str, Any]]) -> None:
        for name, fields in kinds.items():
            dates = {"createdAt", "updatedAt"}
            db[name].insert_many(
                {"_id": self.ids[n], **dict.fromkeys(dates, at(n)), **fields(n)}
                for n in range(MANY)
            )

    def tenant(self, number: int) -> dict[str, Any]:
        found = self.admin_db["tenants"].find_one({"_id": self.ids[number]})
        assert found is not None
        return found

    def user(self, number: int) -> dict[str, Any]:
        found = self.db["users"].find_one({"_id": self.ids[number]})
        assert found is not None
        return found


@pytest.fixture(scope="module")
def platform(shared: World) -> Iterator[Platform]:
    owner = shared.tenant("Large")
    platform = Platform(shared.admin_db, shared.db_of(owner.tenant_id))
    yield platform
    for name in ("tenants", "provisionings"):  # they tell of databases that are not there
        shared.admin_db[name].delete_many({"_id": {"$in": platform.ids}})


Call = Callable[[Platform], object]
SOON = timedelta(minutes=1)
LATER = datetime(2030, 1, 1, tzinfo=UTC)


def pages(list_page: Callable[[PageQuery], Page]) -> list[Page]:
    """The first page and the one after it."""
    first = list_page(PageQuery(limit=20))
    return [first, list_page(PageQuery(limit=20, cursor=first.next_cursor))]


def audit_pages(platform: Platform) -> None:
    """Every set of filters."""
    filters: tuple[tuple[str, tuple[Any, ...]], ...] = (
        ("tenantId", (None, str(platform.ids[7]))),
        ("actor", (None, str(platform.ids[7]))),
        ("action", (None, "cluster.suspend", "cluster.*")),
        ("outcome", (None, "failure")),
        ("since", (None, at(300))),
    )
    names = [name for name, _ in filters]
    for values in product(*(choice for _, choice in filters)):
        wanted = dict(zip(names, values, strict=True))
        if sum(wanted[name] is not None for name in ("tenantId", "actor", "action")) > 1:
            continue  # of two, one index is used, and the other filter looks at what that finds
        first = list_audit(platform.admin_db, AuditQuery.model_validate({"limit": 5, **wanted}))
        if first.next_cursor:
            wanted["cursor"] = first.next_cursor
            list_audit(platform.admin_db, AuditQuery.model_validate({"limit": 5, **wanted}))


ADMIN: dict[Callable[..., Any], Call] = {
    audit.insert_audit: lambda p: None,
    audit.list_audit: audit_pages,
    audit.list_actions: lambda p: audit.list_actions(p.admin_db, "cluster"),
    changes.open_changes: lambda p: None,  # it reads the oplog
    clusters.insert_cluster: lambda p: None,
    clusters.find_cluster: lambda p: clusters.find_cluster(p.admin_db, "red"),
    clusters.find_clusters: lambda p: clusters.find_clusters(p.admin_db, ["red", "default"]),
    clusters.is_open: lambda p: clusters.is_open(p.admin_db, "red"),
    clusters.list_clusters: lambda p: clusters.list_clusters(p.admin_db),
    clusters.update_cluster: lambda p: clusters.update_cluster(p.admin_db, "red", state="open"),
    clusters.set_measurement: lambda p: clusters.set_measurement(p.admin_db, "red", {}),
    clusters.set_state: lambda p: clusters.set_state(p.admin_db, "red", "open"),
    clusters.delete_cluster: lambda p: clusters.delete_cluster(p.admin_db, "red", state="closed"),
    clusters.add_place: lambda p: clusters.add_place(p.admin_db, "red"),
    clusters.set_places: lambda p: clusters.set_places(p.admin_db, "red", 1, seen=None),
    clusters.find_places: lambda p: clusters.find_places(p.admin_db, ["red"]),
    clusters.count_places: lambda p: clusters.count_places(p.admin_db, ["red", "default"]),
    clusters.count_tenants: lambda p: clusters.count_tenants(p.admin_db),
    clusters.find_notes_under_way: lambda p: clusters.find_notes_under_way(p.admin_db, "red"),
    clusters.count_notes: lambda p: clusters.count_notes(p.admin_db, "red"),
    encrypted_fields.count_with_other_key: lambda p: encrypted_fields.count_with_other_key(
        p.admin_db, "new"
    ),
    encrypted_fields.find_with_other_key: lambda p: list(
        encrypted_fields.find_with_other_key(p.admin_db, "new")
    ),
    encrypted_fields.replace_encrypted_field: lambda p: encrypted_fields.replace_encrypted_field(
        p.admin_db, encrypted_fields.Found("tenants", p.ids[0], "credentials", {}), {}
    ),
    handshakes.note_process: lambda p: handshakes.note_process(p.admin_db, "process 1"),
    handshakes.remove_process: lambda p: handshakes.remove_process(p.admin_db, "process 1"),
    handshakes.list_processes: lambda p: handshakes.list_processes(p.admin_db, seconds=30),
    handshakes.insert_handshake: lambda p: handshakes.insert_handshake(p.admin_db, p.ids[1]),
    handshakes.answer_handshake: lambda p: handshakes.answer_handshake(p.admin_db, p.ids[1], "x"),
    handshakes.list_answers: lambda p: handshakes.list_answers(p.admin_db, p.ids[1]),
    handshakes.delete_handshake: lambda p: handshakes.delete_handshake(p.admin_db, p.ids[1]),
    handshakes.delete_handshakes: lambda p: handshakes.delete_handshakes(p.admin_db, p.ids[2]),
    heartbeats.claim_heartbeat: lambda p: heartbeats.claim_heartbeat(p.admin_db, "x"),
    heartbeats.write_heartbeat: lambda p: heartbeats.write_heartbeat(
        p.admin_db, "x", instead_of="y"
    ),
    heartbeats.prove_primary: lambda p: heartbeats.prove_primary(p.admin_db),
    idempotency_keys.insert_idempotency_key: lambda p: None,
    idempotency_keys.find_idempotency_key: lambda p: idempotency_keys.find_idempotency_key(
        p.admin_db, "key 1"
    ),
    idempotency_keys.delete_idempotency_keys: lambda p: idempotency_keys.delete_idempotency_keys(
        p.admin_db, p.ids[1]
    ),
    locks.acquire_lock: lambda p: locks.acquire_lock(
        p.admin_db, "lock 1", holder="holder 1", lasts=SOON
    ),
    locks.keep_locks: lambda p: locks.keep_locks(p.admin_db, holder="holder 1", lasts=SOON),
    locks.check_lock: lambda p: locks.check_lock(p.admin_db, "lock 1", holder="holder 1"),
    locks.release_lock: lambda p: locks.release_lock(p.admin_db, "lock 1", holder="holder 1"),
    provisionings.insert_provisioning: lambda p: None,
    provisionings.mark_prepared: lambda p: provisionings.mark_prepared(
        p.admin_db, p.ids[1], version=5
    ),
    provisionings.take_prepared: lambda p: provisionings.take_prepared(
        p.admin_db, "default", version=5, has_users=False
    ),
    provisionings.count_prepared: lambda p: provisionings.count_prepared(
        p.admin_db, "default", version=5
    ),
    provisionings.list_prepared: lambda p: provisionings.list_prepared(p.admin_db, version=5),
    provisionings.delete_unclaimed_provisioning: lambda p: (
        provisionings.delete_unclaimed_provisioning(p.admin_db, ObjectId())
    ),
    provisionings.claim_provisioning: lambda p: provisionings.claim_provisioning(
        p.admin_db, p.ids[4], seen={"startedAt": at(4)}
    ),
    provisionings.delete_provisioning: lambda p: provisionings.delete_provisioning(
        p.admin_db, ObjectId()
    ),
    provisionings.list_db_names: lambda p: provisionings.list_db_names(p.admin_db, "red"),
    provisionings.list_provisionings: lambda p: provisionings.list_provisionings(
        p.admin_db, before=at(20)
    ),
    provisionings.touch_provisioning: lambda p: provisionings.touch_provisioning(
        p.admin_db, ObjectId()
    ),
    provisionings.list_kept: lambda p: (
        provisionings.list_kept(p.admin_db),
        provisionings.list_kept(p.admin_db, tenant_id=p.ids[52]),
        provisionings.list_kept(p.admin_db, before=at(100)),
    ),
    provisionings.find_unfinished: lambda p: provisionings.find_unfinished(p.admin_db, p.ids[3]),
    provisionings.release_kept: lambda p: provisionings.release_kept(p.admin_db, p.ids[102]),
    provisionings.claim_other_databases: lambda p: provisionings.claim_other_databases(
        p.admin_db, p.ids[103]
    ),
    revocations.begin_use: lambda p: revocations.begin_use(p.admin_db, "token", LATER),
    revocations.finish_use: lambda p: revocations.finish_use(p.admin_db, "token", LATER, LATER),
    revocations.upsert_family_revocation: lambda p: revocations.upsert_family_revocation(
        p.admin_db, "family", LATER
    ),
    revocations.upsert_user_revocation: lambda p: revocations.upsert_user_revocation(
        p.admin_db, p.ids[1], p.ids[1], version=1, expires_at=LATER
    ),
    revocations.upsert_tenant_revocation: lambda p: revocations.upsert_tenant_revocation(
        p.admin_db, p.ids[1], version=1, issued_until=START, expires_at=LATER
    ),
    revocations.newest_revoked_version: lambda p: revocations.newest_revoked_version(
        p.admin_db, p.ids[2]
    ),
    revocations.find_revocations: lambda p: revocations.find_revocations(
        p.admin_db, ["token", "family"]
    ),
    revocations.delete_user_revocations: lambda p: revocations.delete_user_revocations(
        p.admin_db, p.ids[3]
    ),
    revocations.has_user_revocations: lambda p: revocations.has_user_revocations(
        p.admin_db, p.ids[4]
    ),
    tenant_users.insert_tenant_user: lambda p: None,
    tenant_users.find_memberships: lambda p: tenant_users.find_memberships(
        p.admin_db, "user1@example.com"
    ),
    tenant_users.find_user_id: lambda p: tenant_users.find_user_id(
        p.admin_db, p.ids[0], "user1@example.com"
    ),
    tenant_users.find_email: lambda p: tenant_users.find_email(p.admin_db, p.ids[0], p.ids[2]),
    tenant_users.list_memberships: lambda p: tenant_users.list_memberships(
        p.admin_db, p.ids[1], before=LATER
    ),
    tenant_users.belong_to_tenant: lambda p: tenant_users.belong_to_tenant(
        p.admin_db, p.ids[1], p.ids[500:510]
    ),
    tenant_users.count_tenant_users: lambda p: tenant_users.count_tenant_users(
        p.admin_db, p.ids[1], at_most=5
    ),
    tenant_users.delete_tenant_user: lambda p: tenant_users.delete_tenant_user(
        p.admin_db, p.ids[1], p.ids[12], email="user12@example.com"
    ),
    tenant_users.delete_tenant_users: lambda p: tenant_users.delete_tenant_users(
        p.admin_db, p.ids[5]
    ),
    tenant_users.delete_memberships: lambda p: tenant_users.delete_memberships(
        p.admin_db, p.ids[60:70]
    ),
    tenant_users.has_tenant_users: lambda p: tenant_users.has_tenant_users(p.admin_db, p.ids[7]),
    tenant_users.insert_copied_tenant_users: lambda p: None,
    tenant_users.replace_tenant_users: lambda p: tenant_users.replace_tenant_users(
        p.admin_db, p.ids[8], {}
    ),
    tenants.insert_tenant: lambda p: None,
    tenants.find_tenant: lambda p: tenants.find_tenant(p.admin_db, p.ids[1]),
    tenants.find_stored_tenant: lambda p: tenants.find_stored_tenant(p.admin_db, p.ids[1]),
    tenants.find_damaged_tenants: lambda p: list(tenants.find_damaged_tenants(p.admin_db)),
    tenants.find_tenants_by_ids: lambda p: tenants.find_tenants_by_ids(p.admin_db, p.ids[:9]),
    tenants.find_tenant_by_name: lambda p: tenants.find_tenant_by_name(p.admin_db, "TENANT 1"),
    tenants.find_tenant_id_by_subdomain: lambda p: tenants.find_tenant_id_by_subdomain(
        p.admin_db, "tenant-1"
    ),
    tenants.find_tenant_id_by_domain: lambda p: tenants.find_tenant_id_by_domain(
        p.admin_db, "1.example"
    ),
    tenants.find_tenants_deleted_before: lambda p: tenants.find_tenants_deleted_before(
        p.admin_db, at(200)
    ),
    tenants.find_tenants_by_db_names: lambda p: tenants.find_tenants_by_db_names(
        p.admin_db, "default", ["db1", "db4"]
    ),
    tenants.find_tenants_on_cluster: lambda p: (
        tenants.find_tenants_on_cluster(p.admin_db, "red"),
        tenants.find_tenants_on_cluster(p.admin_db, "red", sample=10),
    ),
    tenants.find_tenants_not_on: lambda p: tenants.find_tenants_not_on(p.admin_db, "default"),
    tenants.find_oldest_tenant: lambda p: tenants.find_oldest_tenant(p.admin_db),
    tenants.list_db_names: lambda p: tenants.list_db_names(p.admin_db, "red"),
    tenants.list_shared_databases: lambda p: tenants.list_shared_databases(p.admin_db),
    tenants.count_tenants: lambda p: tenants.count_tenants(p.admin_db, "red"),
    tenants.sample_tenants: lambda p: tenants.sample_tenants(p.admin_db, 10),
    tenants.list_tenants: lambda p: (
        pages(lambda q: tenants.list_tenants(p.admin_db, TenantQuery(**q.model_dump()))),
        pages(
            lambda q: tenants.list_tenants(
                p.admin_db, TenantQuery(status="deleted", **q.model_dump() | {"limit": 5})
            )
        ),
    ),
    tenants.update_tenant: lambda p: tenants.update_tenant(p.admin_db, p.tenant(1), user_limit=3),
    tenants.find_tenants_in_maintenance: lambda p: tenants.find_tenants_in_maintenance(p.admin_db),
    tenants.end_expired_maintenance: lambda p: tenants.end_expired_maintenance(
        p.admin_db, p.tenant(51)
    ),
    tenants.end_maintenance: lambda p: tenants.end_maintenance(p.admin_db, p.tenant(151)),
    tenants.extend_maintenance: lambda p: tenants.extend_maintenance(
        p.admin_db, p.ids[251], holder="holder 251", lasts=SOON
    ),
    tenants.is_in_maintenance: lambda p: tenants.is_in_maintenance(
        p.admin_db, p.ids[251], holder="holder 251"
    ),
    tenants.list_schema_versions: lambda p: tenants.list_schema_versions(p.admin_db),
    tenants.find_tenants_for_migration: lambda p: (
        tenants.find_tenants_for_migration(p.admin_db, named=["tenant-1", str(p.ids[2])]),
        tenants.find_tenants_for_migration(p.admin_db, other_than=5),
    ),
    tenants.set_schema_version: lambda p: tenants.set_schema_version(p.admin_db, p.ids[1], 6),
    tenants.delete_tenant: lambda p: tenants.delete_tenant(p.admin_db, p.tenant(9)),
    token_lives.upsert_token_life: lambda p: token_lives.upsert_token_life(p.admin_db, SOON, LATER),
    token_lives.longest_token_life: lambda p: token_lives.longest_token_life(p.admin_db, START),
    turns.take_turn: lambda p: turns.take_turn(p.admin_db, p.ids[1]),
    turns.delete_turns: lambda p: turns.delete_turns(p.admin_db, p.ids[1]),
}
TENANT: dict[Callable[..., Any], Call] = {
    comments.comments_on: lambda p: pages(
        lambda q: comments.comments_on(p.ids[1]).find_page(p.db, q.model_copy(update={"limit": 5}))
    ),
    comments.find_first_comments: lambda p: comments.find_first_comments(p.db, p.ids[:5], 3),
    orders.insert_order: lambda p: orders.insert_order(
        p.db, [{"name": "x", "quantity": 1, "price": Decimal(1)}], Decimal(1)
    ),
    orders.find_items: lambda p: orders.find_items(p.db, p.ids[:9]),
    settings.list_settings: lambda p: pages(lambda q: settings.list_settings(p.db, q)),
    settings.find_setting: lambda p: settings.find_setting(p.db, "key1"),
    settings.put_setting: lambda p: settings.put_setting(p.db, "key1", 2),
    settings.delete_setting: lambda p: settings.delete_setting(p.db, "key1"),
    tenant_users_own.insert_user: lambda p: None,
    tenant_users_own.find_user: lambda p: tenant_users_own.find_user(p.db, p.ids[1]),
    tenant_users_own.find_sound_user: lambda p: tenant_users_own.find_sound_user(p.db, p.ids[1]),
    tenant_users_own.find_user_by_email: lambda p: tenant_users_own.find_user_by_email(
        p.db, "1@example.com"
    ),
    tenant_users_own.list_users: lambda p: pages(lambda q: tenant_users_own.list_users(p.db, q)),
    tenant_users_own.void_invitations: lambda p: tenant_users_own.void_invitations(p.db, p.ids[:9]),
    tenant_users_own.has_other_owner: lambda p: tenant_users_own.has_other_owner(p.db, p.ids[0]),
    tenant_users_own.update_user: lambda p: tenant_users_own.update_user(
        p.db, p.user(1), role="admin"
    ),
    tenant_users_own.delete_user: lambda p: tenant_users_own.delete_user(p.db, p.user(2)),
    tenant_users_own.replace_password: lambda p: tenant_users_own.replace_password(
        p.db, p.user(3), "y", except_family="f"
    ),
    tenant_users_own.accept_invitation: lambda p: tenant_users_own.accept_invitation(
        p.db, p.ids[4], invitation_id="i", password="y"
    ),
    tenant_users_own.forget_invitation: lambda p: tenant_users_own.forget_invitation(
        p.db, p.ids[4], invitation_id="i"
    ),
    tenant_users_own.list_roles: lambda p: tenant_users_own.list_roles(p.db),
    tenant_users_own.iterate_users: lambda p: list(tenant_users_own.iterate_users(p.db)),
    tenant_users_own.set_token_version: lambda p: tenant_users_own.set_token_version(p.db, 2),
}
WHOLE = {
    # What each is for is about all of them: a command of operators, or one that copies.
    clusters.count_tenants,
    clusters.count_places,
    clusters.count_notes,
    encrypted_fields.count_with_other_key,
    encrypted_fields.find_with_other_key,
    tenants.count_tenants,
    tenants.find_damaged_tenants,
    tenants.list_schema_versions,
    tenants.list_shared_databases,
    tenant_users_own.set_token_version,
    tenant_users_own.list_roles,
    tenant_users_own.iterate_users,
}
RESOURCES = {
    "todos": todos.todos,
    "employees": employees.employees,
    "posts": posts.posts,
    "published posts": posts.published_posts,
    "all posts": posts.all_posts,
    "orders": orders.orders,
}


def of_package(package: ModuleType) -> Iterator[Callable[..., Any]]:
    """The functions that send commands."""
    for info in pkgutil.iter_modules(package.__path__):
        module = import_module(f"{package.__name__}.{info.name}")
        for name, function in inspect.getmembers(module, inspect.isfunction):
            own = function.__module__ == module.__name__ and not name.startswith("_")
            if own and "db" in inspect.signature(function).parameters:
                yield function


def check(plans: list[Plan]) -> None:
    for plan in plans:
        assert "COLLSCAN" not in plan.stages, plan
        assert "SORT" not in plan.stages, plan
        assert plan.documents <= plan.results + SPARE, plan
        assert plan.keys <= 2 * plan.results + SPARE, plan


def test_every_function_is_tried() -> None:
    assert set(of_package(admin_repositories)) <= set(ADMIN)
    named = {function for function in TENANT if function is not tenant_users_own.is_sound}
    assert set(of_package(tenant_repositories)) - {tenant_users_own.is_sound} <= named


@pytest.mark.parametrize(
    "function",
    [*ADMIN, *TENANT],
    ids=lambda it: f"{it.__module__}.{it.__name__}".removeprefix("multitenant.repositories."),
)
def test_it_uses_an_index_and_looks_at_what_it_returns(
    shared: World, mongo: Client, platform: Platform, function: Callable[..., Any]
) -> None:
    with plans_of(shared.recorder, mongo) as plans:
        (ADMIN | TENANT)[function](platform)
    if function not in WHOLE:
        check(plans)


@pytest.mark.parametrize("name", RESOURCES)
def test_every_resource_does(shared: World, mongo: Client, platform: Platform, name: str) -> None:
    resource = RESOURCES[name]
    with plans_of(shared.recorder, mongo) as plans:
        pages(lambda query: resource.find_page(platform.db, query))
        document_id = platform.ids[20 * [*RESOURCES].index(name)]
        resource.get(platform.db, document_id)
        resource.delete(platform.db, document_id)
    check(plans)


def test_of_three_tenants_that_are_added_one_counts_the_others(
    shared: World, mongo: Client, platform: Platform
) -> None:
    of_cluster = {"_id": "default"}
    room = {"capacity": {"tenants": 5000}}
    shared.admin_db["clusters"].update_one(of_cluster, {"$set": room})
    shared.admin_db["places"].delete_many({})
    other = {"_id": "red", "state": "open", "capacity": {"tenants": 1}}
    shared.admin_db["clusters"].insert_one(other)
    examined = []
    for name in ("One", "Two", "Three"):
        with plans_of(shared.recorder, mongo) as plans:
            added = shared.add(name=name, email=f"{name}@example.com", password=PASSWORD)
        assert added.status_code == 201, added.text
        examined.append(max(max(plan.keys, plan.documents) for plan in plans))
    assert examined[0] > MANY
    assert max(examined[1:]) <= SPARE
    noted = clusters.find_places(shared.admin_db, ["default"])["default"]["count"]
    assert noted == clusters.count_places(shared.admin_db, ["default"])["default"]
