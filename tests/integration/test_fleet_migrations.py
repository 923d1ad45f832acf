"""`multitenant migrations`: the databases of all tenants, brought to one version."""

import json
import threading
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner, Result

from multitenant import migrations as migrations_package
from multitenant.cli import cli
from multitenant.repositories.admin.locks import acquire_lock, keep_locks
from multitenant.repositories.model import MongoDatabase
from multitenant.tenancy.lifecycle.tenant_locks import LOCK_LASTS
from multitenant.tenancy.migrations import TENANT_MIGRATIONS, Migration
from multitenant.tenancy.operations.fleet import Fleet
from tests.integration.conftest import Command
from tests.support import World, answer

# By name, for in its package the command itself has this name.
COMMANDS: list[Any] = [
    import_module(f"multitenant.cli.migrations.{name}") for name in ("status", "run")
]
FLEET: Any = import_module("multitenant.tenancy.operations.fleet")
OLD = len(TENANT_MIGRATIONS)
NEW = OLD + 1
Multitenant = Callable[..., Result]


class Colours(ModuleType):
    """A migration that gives each database a collection, and fails where it is told to."""

    def __init__(self) -> None:
        super().__init__("multitenant.migrations.tenant.m0006_colours")
        self.fails_for: set[str] = set()
        self.delay = 0.0
        self.running = self.most = 0
        self._lock = threading.Lock()

    def up(self, db: MongoDatabase) -> None:
        with self._lock:
            self.running += 1
            self.most = max(self.most, self.running)
        time.sleep(self.delay)
        db["colours"].update_one({"_id": "red"}, {"$inc": {"times": 1}}, upsert=True)
        with self._lock:
            self.running -= 1
        if db.name in self.fails_for:
            raise RuntimeError("no colours here")

    def down(self, db: MongoDatabase) -> None:
        db["colours"].drop()


def set_newest(monkeypatch: pytest.MonkeyPatch, version: int) -> None:
    """Make the commands believe that this is the newest version."""
    for command in COMMANDS:
        monkeypatch.setattr(command, "TENANT_VERSION", version)


def add_migration(monkeypatch: pytest.MonkeyPatch, module: ModuleType) -> None:
    """Make this the newest migration of tenants' databases."""
    migrations = (*TENANT_MIGRATIONS, Migration(NEW, module))
    monkeypatch.setattr("multitenant.tenancy.operations.fleet.TENANT_MIGRATIONS", migrations)
    set_newest(monkeypatch, NEW)


@pytest.fixture
def colours(monkeypatch: pytest.MonkeyPatch) -> Colours:
    """A release with one migration more than the tenants have had."""
    module = Colours()
    add_migration(monkeypatch, module)
    return module


@pytest.fixture
def multitenant(command: Command) -> Multitenant:
    """Run the command on the platform of the test."""
    return lambda *args: command("migrations", *args, catch_exceptions=False)


def add(world: World, *names: str) -> dict[str, str]:
    """Add tenants; their ids by their names."""
    made = {}
    for name in names:
        body = {"name": name, "email": f"owner@{name.lower()}.example", "subdomain": name.lower()}
        made[name] = answer(world.operator.post("/api/add", body))["tenantId"]
    return made


def versions(world: World) -> dict[str, tuple[int, int, bool]]:
    """Of each tenant: the recorded version, the real one, and whether it has colours."""
    found = {}
    for record in world.admin_db["tenants"].find():
        db = world.admin_db.client[record["dbName"]]
        real = db["migrations"].count_documents({})
        has = "colours" in db.list_collection_names()
        found[record["name"]] = (record["schemaVersion"], real, has)
    return found


def db_name(world: World, tenant_id: str) -> str:
    return str(world.record(tenant_id)["dbName"])


def test_every_tenant_gets_it_whatever_its_status(
    world: World, colours: Colours, multitenant: Multitenant
) -> None:
    ids = add(world, "Acme", "Globex", "Initech")
    world.operator.post(f"/api/tenants/{ids['Globex']}/suspend")
    world.operator.delete(f"/api/tenants/{ids['Initech']}")
    assert multitenant("status").exit_code == 1

    done = multitenant("run")

    assert done.exit_code == 0, done.output
    assert "4 migrated" in done.output
    assert set(versions(world).values()) == {(NEW, NEW, True)}
    assert multitenant("status").exit_code == 0
    entry = answer(world.operator.get("/api/audit?action=migrations.run"))["items"][0]
    assert entry["details"] == {"version": NEW, "migrated": 4, "failed": 0, "rolledBack": 0}


def test_with_nothing_to_do_only_a_few_databases_are_looked_into(
    world: World, multitenant: Multitenant, colours: Colours
) -> None:
    add(world, *(f"T{number}" for number in range(14)))
    assert multitenant("run").exit_code == 0
    looked: list[str] = []
    real, Fleet.verify = Fleet.verify, counted(looked)  # type: ignore[method-assign]
    try:
        assert "0 tenants to migrate" in multitenant("run").output
    finally:
        Fleet.verify = real  # type: ignore[method-assign]
    assert len(looked) == 10


def counted(looked: list[str]) -> Any:
    real = Fleet.verify

    def verify(self: Fleet, records: Any) -> Any:
        looked.extend(record["name"] for record in records)
        return real(self, records)

    return verify


@pytest.mark.parametrize("asked", [(), ("--verify",)])
def test_a_record_that_is_wrong_is_found_and_the_tenant_migrated(
    world: World, colours: Colours, multitenant: Multitenant, asked: tuple[str, ...]
) -> None:
    """As after a restore of the tenant's database alone."""
    ids = add(world, "Acme", "Globex")
    multitenant("run")
    db = world.db_of(ids["Acme"])
    db["migrations"].delete_one({"_id": NEW})
    db["colours"].drop()
    assert "1 migrated" in multitenant("run", *asked).output
    assert versions(world)["Acme"] == (NEW, NEW, True)


def test_a_failure_takes_the_whole_run_back(
    world: World, colours: Colours, multitenant: Multitenant
) -> None:
    ids = add(world, "Acme", "Globex", "Initech")
    colours.fails_for = {db_name(world, ids["Globex"])}

    done = multitenant("run", "--parallel", "1")

    assert done.exit_code == 1
    assert "Globex: RuntimeError: no colours here" in done.output
    assert {(*both,) for *both, _ in versions(world).values()} == {(OLD, OLD)}
    assert versions(world)["Acme"] == (OLD, OLD, False), "it had been migrated"
    colours.fails_for.clear()
    assert multitenant("run").exit_code == 0
    assert set(versions(world).values()) == {(NEW, NEW, True)}


def test_what_failed_half_way_goes_back_as_well(
    world: World, colours: Colours, multitenant: Multitenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = add(world, "Acme")
    second = Colours()
    second.fails_for = {db_name(world, ids["Acme"])}
    migrations = (*TENANT_MIGRATIONS, Migration(NEW, colours), Migration(NEW + 1, second))
    monkeypatch.setattr(FLEET, "TENANT_MIGRATIONS", migrations)
    set_newest(monkeypatch, NEW + 1)
    assert multitenant("run").exit_code == 1
    assert set(versions(world).values()) == {(OLD, OLD, False)}


def test_or_ends_it_or_is_left_behind(
    world: World, colours: Colours, multitenant: Multitenant
) -> None:
    ids = add(world, "Acme", "Globex", "Initech")
    colours.fails_for = {db_name(world, ids["Globex"])}

    stopped = multitenant("run", "--on-failure", "stop", "--parallel", "1", "--json")
    told = json.loads(stopped.stdout)
    assert stopped.exit_code == 1
    assert told["migrated"] == ["operators", "Acme"]
    assert [failed["name"] for failed in told["failed"]] == ["Globex"]
    assert (told["rolledBack"], told["left"]) == ([], 1)
    assert versions(world)["Initech"] == (OLD, OLD, False)

    went_on = multitenant("run", "--on-failure", "continue", "--parallel", "1")
    assert went_on.exit_code == 1
    assert "1 migrated, 1 failed" in went_on.output
    recorded = {name: version for name, (version, *_) in versions(world).items()}
    assert recorded == {"operators": NEW, "Acme": NEW, "Globex": OLD, "Initech": NEW}


def test_canaries_go_first_and_what_they_find_saves_the_others(
    world: World, colours: Colours, multitenant: Multitenant
) -> None:
    ids = add(world, "Acme", "Globex", "Initech")
    colours.fails_for = {db_name(world, ids["Acme"])}
    done = multitenant("run", "--canary", "2", "--on-failure", "stop")
    assert done.exit_code == 1
    assert "2 not begun" in done.output
    assert versions(world)["Initech"] == (OLD, OLD, False)


def test_only_those_that_are_named(
    world: World, colours: Colours, multitenant: Multitenant
) -> None:
    ids = add(world, "Acme", "Globex", "Initech")
    named = ("--tenant", "ACME", "--tenant", ids["Initech"])
    assert "2 tenants to migrate: Acme, Initech" in multitenant("run", *named, "--dry-run").output
    assert versions(world)["Acme"] == (OLD, OLD, False)
    assert "2 migrated" in multitenant("run", *named).output
    assert versions(world)["Globex"] == (OLD, OLD, False)
    # A text may be one tenant's name and another's subdomain: that does not make up for a typo.
    world.operator.patch(f"/api/tenants/{ids['Globex']}", {"name": "Initech Two"})
    world.operator.patch(f"/api/tenants/{ids['Initech']}", {"subdomain": "initech-two"})
    world.operator.patch(f"/api/tenants/{ids['Acme']}", {"subdomain": "initech"})
    for others in (("--tenant", "globex"), ("--tenant", "initech")):
        with pytest.raises(Exception, match="There is no tenant 'nobody'"):
            multitenant("run", *others, "--tenant", "nobody")


def test_taking_tenants_back(world: World, colours: Colours, multitenant: Multitenant) -> None:
    add(world, "Acme", "Globex")
    multitenant("run")
    asked = CliRunner().invoke(cli, ["migrations", "rollback", "--to", str(OLD)], input="n\n")
    assert asked.exit_code == 1
    assert versions(world)["Acme"] == (NEW, NEW, True)
    done = multitenant("rollback", "--to", str(OLD), "--tenant", "acme", "--yes")
    assert done.exit_code == 0, done.output
    assert versions(world)["Acme"] == (OLD, OLD, False)
    assert versions(world)["Globex"] == (NEW, NEW, True)


def test_a_migration_may_take_longer_than_a_request(
    world: World, colours: Colours, multitenant: Multitenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPERATION_TIMEOUT_MS", "1500")

    def slowly(db: MongoDatabase) -> None:
        db["colours"].insert_one({})
        assert db["colours"].find_one({"$where": "sleep(2000); return true"})

    monkeypatch.setattr(colours, "up", slowly)
    done = multitenant("run")
    assert done.exit_code == 0, done.output
    assert versions(world)["operators"] == (NEW, NEW, True)


def test_a_tenant_that_was_purged_meanwhile_does_not_come_to_be_again(
    world: World, colours: Colours
) -> None:
    ids = add(world, "Acme", "Globex")
    records = list(world.admin_db["tenants"].find())
    world.operator.delete(f"/api/tenants/{ids['Acme']}")
    name = db_name(world, ids["Acme"])
    world.operator.post(f"/api/tenants/{ids['Acme']}/purge", {"confirm": "Acme"})
    platform = world.platform
    with Fleet(platform.connections, platform.cipher, parallel=2) as fleet:
        done = {one.name: (one.before, one.after, one.error) for one in fleet.migrate(records)}
    assert done["Acme"] == (None, None, None)
    assert done["Globex"] == (OLD, NEW, None)
    assert name not in world.databases()


def test_a_release_that_is_older_than_a_tenant_does_not_touch_it(
    world: World, colours: Colours, multitenant: Multitenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(world, "Acme")
    multitenant("run")
    set_newest(monkeypatch, OLD)
    with pytest.raises(Exception, match=r"newer than this release: operators, Acme"):
        multitenant("run")


def test_at_most_so_many_at_a_time_and_tenants_work_on(
    world: World, colours: Colours, multitenant: Multitenant
) -> None:
    owner = world.tenant("Acme")
    add(world, *(f"T{number}" for number in range(6)))
    colours.delay = 0.2
    codes: set[int] = set()
    ended = threading.Event()

    def work() -> None:
        while not ended.is_set():
            codes.add(owner.post("/api/to-do-list", {"title": "x"}).status_code)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert multitenant("run", "--parallel", "3").exit_code == 0
    finally:
        ended.set()
        thread.join()
    assert colours.most == 3
    assert codes == {201}


def test_two_runs_at_once_do_each_tenant_once(
    world: World,
    colours: Colours,
    run_together: Callable[[list[Callable[[], Any]]], list[Any]],
) -> None:
    add(world, *(f"T{number}" for number in range(6)))
    colours.delay = 0.1
    records = list(world.admin_db["tenants"].find())

    def migrate_all() -> list[Any]:
        platform = world.platform
        with Fleet(platform.connections, platform.cipher, parallel=3) as fleet:
            return list(fleet.migrate(records))

    both = run_together([migrate_all, migrate_all])
    assert [one.error for results in both for one in results] == [None] * 14
    for record in records:
        red = world.admin_db.client[record["dbName"]]["colours"].find_one()
        assert red == {"_id": "red", "times": 1}
    assert world.admin_db["locks"].count_documents({}) == 0


def test_the_lock_of_a_run_that_was_killed_is_waited_for(
    world: World, colours: Colours, multitenant: Multitenant
) -> None:
    ids = add(world, "Acme")
    name = f"migrations {ids['Acme']}"
    assert acquire_lock(world.admin_db, name, holder="who died", lasts=LOCK_LASTS / 60)
    assert not acquire_lock(world.admin_db, name, holder="another", lasts=LOCK_LASTS)
    keep_locks(world.admin_db, holder="another", lasts=LOCK_LASTS)
    assert multitenant("run").exit_code == 0
    assert versions(world)["Acme"] == (NEW, NEW, True)


def test_a_rollback_that_was_killed_is_done_again(
    world: World, colours: Colours, multitenant: Multitenant
) -> None:
    """It has recorded where it was going to, and did not get there."""
    add(world, "Acme")
    assert multitenant("run").exit_code == 0
    world.admin_db["tenants"].update_one({"name": "Acme"}, {"$set": {"schemaVersion": OLD}})
    assert multitenant("rollback", "--to", str(OLD), "--tenant", "Acme", "--yes").exit_code == 0
    assert versions(world)["Acme"] == (OLD, OLD, False)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the migrations, to write into."""
    for kind in ("admin", "tenant"):
        (tmp_path / kind).mkdir()
        (tmp_path / kind / "m0001_initial.py").touch()
    monkeypatch.setattr(migrations_package, "__path__", [str(tmp_path)])
    return tmp_path


def test_a_new_one_gets_the_next_number(package: Path) -> None:
    made = CliRunner().invoke(cli, ["migrations", "new", "Invoices & more"])
    assert made.output.strip() == str(package / "tenant" / "m0002_invoices_more.py")
    source = (package / "tenant" / "m0002_invoices_more.py").read_text()
    names: dict[str, Any] = {}
    exec(source, names)
    assert callable(names["up"])
    assert callable(names["down"])
    CliRunner().invoke(cli, ["migrations", "new", "more", "--admin"])
    assert (package / "admin" / "m0002_more.py").exists()
    assert CliRunner().invoke(cli, ["migrations", "new", "&"]).exit_code == 2


class TestIndexes:
    """`migrations status --indexes` and `--repair`."""

    def test_a_new_tenant_has_all_that_are_declared(
        self, world: World, multitenant: Multitenant
    ) -> None:
        add(world, "Acme")
        done = multitenant("status", "--indexes")
        assert done.exit_code == 0, done.output
        assert "2 tenants compared, 0 with" in done.output

    def test_what_differs_is_named_and_mended_and_what_is_somebody_elses_stays(
        self, world: World, multitenant: Multitenant
    ) -> None:
        ids = add(world, "Acme", "Globex", "Initech")
        acme, globex = world.db_of(ids["Acme"]), world.db_of(ids["Globex"])
        acme["users"].drop_index("email_1")
        globex["users"].drop_index("email_1")
        globex["users"].create_index("email", name="email_1")  # and not unique
        globex["todos"].create_index("title", name="by_hand")

        found = multitenant("status", "--indexes", "--json")

        assert found.exit_code == 1
        told = {one["name"]: one["indexes"] for one in json.loads(found.stdout)["tenants"]}
        assert told == {
            "Acme": [{"collection": "users", "index": "email_1", "kind": "missing"}],
            "Globex": [
                {"collection": "todos", "index": "by_hand", "kind": "unknown"},
                {"collection": "users", "index": "email_1", "kind": "different"},
            ],
        }
        assert multitenant("status", "--repair").exit_code == 0
        for db in (acme, globex):
            assert db["users"].index_information()["email_1"]["unique"] is True
        left = multitenant("status", "--indexes")
        assert "Globex: todos.by_hand unknown" in left.output
        assert "1 with other indexes" in left.output

    def test_one_that_cannot_be_made_is_told_and_the_others_are(
        self, world: World, multitenant: Multitenant
    ) -> None:
        """A unique index, over documents that are not."""
        ids = add(world, "Acme", "Globex")
        for name in ids:
            world.db_of(ids[name])["users"].drop_index("email_1")
        acme = world.db_of(ids["Acme"])
        acme["users"].insert_one({"email": "owner@acme.example"})
        done = multitenant("status", "--repair")
        assert done.exit_code == 1
        assert "Acme: DuplicateKeyError" in done.output or "Acme: OperationFailure" in done.output
        assert "email_1" in world.db_of(ids["Globex"])["users"].index_information()
        acme["users"].delete_one({"role": {"$exists": False}})
        assert multitenant("status", "--repair").exit_code == 0
