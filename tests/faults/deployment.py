"""The whole platform as it is seen from outside: what must hold, and what has changed."""

import time
from collections.abc import Mapping
from typing import Any

import bcrypt
from bson import ObjectId

from multitenant.repositories.indexes import find_drift
from multitenant.repositories.model import MongoDatabase, MongoDocument
from multitenant.schemas.tenant import DOCUMENTS
from multitenant.tenancy.deployments.database_users import DatabaseUser
from multitenant.tenancy.migrations import TENANT_VERSION, newest_applied
from multitenant.tenancy.operations.key_rotation import count_outdated
from tests.conftest import Client
from tests.faults.recovery import collect_garbage, let_time_pass
from tests.support import OPERATOR_EMAIL, OPERATOR_PASSWORD, PASSWORD, User, World

Who = tuple[str, str]
OTHER_PASSWORD = "another good password"
EXTERNAL_DB = "acme"
SESSION_SECONDS = 300.0
"""Tokens are good for three times as long."""
UNAUDITED = {"auth.login", "auth.login_failed", "tenant.moved"}
"""In the audit log: reports, and what this looking itself does."""


class Deployment:
    """A world, and the servers on which its tenants live: a client with all rights for each."""

    def __init__(self, world: World, servers: Mapping[str, Client]) -> None:
        self.world = world
        self.servers = servers
        self.operator = world.operator
        self.sessions: dict[Who, User] = {}
        """Of everybody who can log in, by tenant and email."""
        self._witnesses: dict[Who, User] = {}
        """Another session of each."""
        self._logged_in_at: dict[Who, float] = {}
        self._operator_logged_in_at = time.monotonic()
        self._answered: dict[Who, list[int]] = {}
        self._audited: set[ObjectId] = set()
        self._indexed: set[tuple[Any, ...]] = set()

    def log_in(self) -> None:
        """See to it that everybody who can has two sessions."""
        good = {who for who, answers in self._answered.items() if set(answers) == {200}}
        young = time.monotonic() - SESSION_SECONDS
        able = {}
        for record in self._tenants():
            for user in self.db(record)["users"].find({"status": "active"}):
                if record["status"] == "active" and (password := _password(user)):
                    able[record["name"], user["email"]] = (password, str(record["_id"]))
        for who in self.sessions.keys() - able.keys():
            del self.sessions[who], self._witnesses[who]
        for who, (password, tenant) in able.items():
            if who not in good or self._logged_in_at[who] < young:
                self.sessions[who] = self.world.login(who[1], password, tenant=tenant)
                self._witnesses[who] = self.world.login(who[1], password, tenant=tenant)
                self._logged_in_at[who] = time.monotonic()
        if self._operator_logged_in_at < young:
            self.operator = self.world.login(OPERATOR_EMAIL, OPERATOR_PASSWORD)
            self._operator_logged_in_at = time.monotonic()

    def begin(self) -> None:
        """Count from now on what is written to the audit log."""
        self._audited = set(self.world.admin_db["audit"].distinct("_id"))

    def restart(self) -> None:
        """Let pass what ends by itself within a minute of a process's death; the processes that
        are there now know nothing of before."""
        let_time_pass(self.world, self.servers.values())
        self.world.platform.connections.forget_all()
        self.world.platform.revocations.forget()
        self.world.platform.host_names.forget()

    def collect_garbage(self) -> None:
        """Run gc until it finds nothing."""
        collect_garbage(self.world, self._use_every_tenant)

    def ensure_whole(self) -> None:
        """Fail where something is there without what it belongs to, or the other way round."""
        admin_db = self.world.admin_db
        tenants = {record["_id"]: record for record in admin_db["tenants"].find()}
        notes = list(admin_db["provisionings"].find())
        for note in notes:
            assert "preparedVersion" in note or note.get("kept"), f"a note is left: {note}"
            assert not note.get("kept") or note["tenantId"] in tenants, f"of nobody: {note}"
        for cluster, client in self.servers.items():
            known = {one["dbName"] for one in tenants.values() if one["cluster"] == cluster}
            known |= {note["dbName"] for note in notes if note["cluster"] == cluster}
            assert self._databases(cluster, client) == known, f"databases on {cluster}"
        for record in tenants.values():
            self._ensure_tenant_whole(record)
        self._ensure_only_known_database_users(tenants, notes)
        for collection in ("tenantusers", "idempotencykeys", "handshakes"):
            ids = set(admin_db[collection].distinct("tenantId"))
            assert ids <= tenants.keys(), f"{collection} of a tenant that is not there"
        ids = {
            turn["_id"] for turn in admin_db["turns"].find() if isinstance(turn["_id"], ObjectId)
        }
        assert ids <= tenants.keys(), "turns of a tenant that is not there"
        keys = [one["_id"] for one in admin_db["revocations"].find({"_id": {"$regex": "/"}})]
        assert {ObjectId(key.split("/")[0]) for key in keys} <= tenants.keys(), "revocations"
        self._use_every_tenant()

    def picture(self) -> dict[str, Any]:
        """What there is, without what is another each time (ids, hashes, times)."""
        admin_db = self.world.admin_db
        audited = admin_db["audit"].find({"_id": {"$nin": [*self._audited]}})
        self._answered = {who: self._answers(who) for who in self.sessions}
        return {
            "tenants": {record["name"]: self._portrait(record) for record in self._tenants()},
            "sessions": self._answered,
            "audit": sorted(one["action"] for one in audited if one["action"] not in UNAUDITED),
            "outdated": count_outdated(admin_db, self.world.platform.cipher),
        }

    def db(self, record: MongoDocument) -> MongoDatabase:
        """The database of the tenant's record, with all rights."""
        return self.servers[record["cluster"]][record["dbName"]]

    def record(self, name: str) -> MongoDocument:
        """The record of the tenant of that name."""
        found = self.world.admin_db["tenants"].find_one({"name": name})
        assert found is not None
        return found

    def _answers(self, who: Who) -> list[int]:
        """How their sessions are answered."""
        sessions = (self.sessions[who], self._witnesses[who])
        return [one.get("/api/users/me").status_code for one in sessions]

    def _tenants(self) -> list[MongoDocument]:
        return list(self.world.admin_db["tenants"].find({"system": False}).sort("name", 1))

    def _portrait(self, record: MongoDocument) -> dict[str, Any]:
        db = self.db(record)
        users = db["users"].find().sort("email", 1)
        kept = {"tenantId": record["_id"], "kept": True}
        return {
            **{name: record[name] for name in ("status", "cluster", "isolation", "schemaVersion")},
            "readOnly": record.get("readOnly"),
            "applied": newest_applied(db),
            "users": [(it["email"], it["role"], it["status"], _password(it)) for it in users],
            "titles": sorted(item["title"] for item in db["todos"].find()),
            "kept": self.world.admin_db["provisionings"].count_documents(kept),
        }

    def _ensure_tenant_whole(self, record: MongoDocument) -> None:
        db, name = self.db(record), record["name"]
        assert record["status"] != "maintenance", f"{name} would be shown as in maintenance"
        version = newest_applied(db)
        assert record["schemaVersion"] <= version, f"{name}: its record promises too much"
        made = (db.name, *(one["appliedAt"] for one in db["migrations"].find().sort("_id", 1)))
        if version == TENANT_VERSION and made not in self._indexed:
            assert find_drift(db, DOCUMENTS) == [], f"{name}: indexes"
            self._indexed.add(made)  # nobody touches them any more
        memberships = self.world.admin_db["tenantusers"].find({"tenantId": record["_id"]})
        belong = {one.get("userId", one["_id"]): one["email"] for one in memberships}
        users = {user["_id"]: user["email"] for user in db["users"].find()}
        assert belong == users, f"{name}: memberships, and users"
        if record["cluster"] == "external":
            owner = db["owner"].find_one()
            assert owner is not None
            assert owner["tenantId"] == record["_id"], f"{name}: its server is another's"

    def _ensure_only_known_database_users(
        self, tenants: Mapping[ObjectId, MongoDocument], notes: list[MongoDocument]
    ) -> None:
        """Those that dedicated tenants' records name, and those of databases that are kept."""
        cipher = self.world.platform.cipher
        known = {
            (it["dbName"], DatabaseUser.of(it["_id"], it["credentials"], cipher).name)
            for it in tenants.values()
            if "credentials" in it
        }
        kept = {note["dbName"] for note in notes if note["hasUsers"]}
        prefix = self.world.platform.settings.tenant_db_prefix
        there = {
            (user["db"], user["user"])
            for client in set(self.servers.values())
            for user in client.admin.command("usersInfo", {"forAllDBs": True})["users"]
            if user["db"].startswith(prefix) and user["db"] not in kept
        }
        assert there == known, "MongoDB users"

    def _databases(self, cluster: str, client: Client) -> set[str]:
        if cluster == "external":
            return {EXTERNAL_DB} if client[EXTERNAL_DB].list_collection_names() else set()
        prefix = self.world.platform.settings.tenant_db_prefix
        operators = self.world.admin_db["tenants"].find_one({"system": True}) or {}
        made = {name for name in client.list_database_names() if name.startswith(prefix)}
        return made | {operators["dbName"]} if cluster == "default" else made

    def _use_every_tenant(self) -> None:
        """With the credentials that each has."""
        for record in self.world.admin_db["tenants"].find({"status": {"$ne": "deleted"}}):
            with self.world.platform.connections.lease(record["_id"]) as lease:
                assert lease.database.name == record["dbName"]
                lease.database["users"].find_one()


def _password(user: MongoDocument) -> str | None:
    """Which of the passwords that tests use is theirs."""
    hashed = user.get("password", "").encode()
    known = (PASSWORD, OTHER_PASSWORD)
    return next((one for one in known if hashed and bcrypt.checkpw(one.encode(), hashed)), None)
