"""Numbered migrations, and which of them a database has had.

A migration is a module `mNNNN_what_it_does` with `up(db)` and `down(db)`; one that only makes
collections has their documents in `CREATES` instead. Such migrations that follow each other are
applied together: that is what a new tenant waits for (ADR 27).

A migration is recorded after it ran, so a crash between the two runs it again: `up` must bear
that. Before it is undone, it is recorded as one that is being undone: from then on it counts as not
applied, and may be undone or applied again.

Who works on a database that others may work on, too, has the turn there (`Turn`): a process that
stood still until another one took it records nothing any more.
"""

import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from itertools import count, groupby
from types import ModuleType

from mongoengine import Document
from pymongo import UpdateOne

from multitenant.errors import Conflict
from multitenant.migrations import admin, tenant
from multitenant.repositories.indexes import make_collections
from multitenant.repositories.model import Model, MongoDatabase, utc_now
from multitenant.repositories.retries import done_again
from multitenant.repositories.transactions import in_transaction

COLLECTION = "migrations"
RECORDED = {"_id": {"$type": "int"}}
"""What the platform has written there: a tenant may have documents of its own in it."""
UNDOING = "undoing"
FIRST = {"_id": 1}
"""The record that is never removed."""
HOLDER = "holder"
"""In the first record, whose turn it is; `turns` grows with each write, so that two conflict. It is
not in a collection of its own: a tenant may have another one of that name."""
TURN_LOST = "Another process has worked on it meanwhile; look at it again"


@dataclass(frozen=True, slots=True)
class Turn:
    """A run's right to work on a database, where others may want to as well."""

    holder: str
    ensure_alone: Callable[[], None]
    """Raises when nobody else was to work on the database meanwhile, and somebody may have: called
    before each migration, and after it, so that it is not recorded then and runs again."""

    def take(self, db: MongoDatabase) -> None:
        """Take the turn: whoever had it before, and stood still since, has lost it."""
        db[COLLECTION].update_one(FIRST, {"$set": {HOLDER: self.holder}, "$inc": {"turns": 1}})
        self.ensure_alone()

    def record(self, db: MongoDatabase, write: Callable[[], object]) -> None:
        """Do `write`, which says what was done, or is about to be, if the turn is still this
        run's. Raises Conflict, and what ensure_alone() raises."""
        self.ensure_alone()

        def checked() -> None:
            own = {**FIRST, HOLDER: self.holder}
            if not db[COLLECTION].update_one(own, {"$inc": {"turns": 1}}).matched_count:
                raise Conflict(TURN_LOST)
            write()

        in_transaction(db, checked)


@dataclass(frozen=True)
class Migration:
    """One step of a schema's history."""

    number: int
    module: ModuleType

    @property
    def name(self) -> str:
        """The module's own name, such as `m0001_initial`."""
        return self.module.__name__.rpartition(".")[2]

    @property
    def creates(self) -> tuple[type[Document], ...]:
        """The documents whose collections it makes, if it does nothing else."""
        creates: tuple[type[Document], ...] = getattr(self.module, "CREATES", ())
        return creates

    def up(self, db: MongoDatabase) -> None:
        """Do what it does; may run again."""
        if self.creates:
            make_collections(db, self.creates)
        else:
            self.module.up(db)

    def down(self, db: MongoDatabase) -> None:
        """Undo it; may run again. The collections that it makes are dropped, with all that is in
        them, unless its module says otherwise."""
        if hasattr(self.module, "down"):
            self.module.down(db)
            return
        for document in self.creates:
            Model(db, document).collection.drop()


def _discover(package: ModuleType) -> tuple[Migration, ...]:
    names = sorted(
        found.name for found in pkgutil.iter_modules(package.__path__) if found.name[:1] == "m"
    )
    migrations = tuple(
        Migration(int(name[1:5]), import_module(f"{package.__name__}.{name}")) for name in names
    )
    if [migration.number for migration in migrations] != list(range(1, len(migrations) + 1)):
        raise RuntimeError(f"{package.__name__}: migrations must be numbered 1, 2, 3 …: {names}")
    return migrations


ADMIN_MIGRATIONS = _discover(admin)
TENANT_MIGRATIONS = _discover(tenant)
TENANT_VERSION = TENANT_MIGRATIONS[-1].number
"""The schema version that tenants' databases have with this release."""


def pending_migrations(
    db: MongoDatabase, migrations: tuple[Migration, ...]
) -> tuple[Migration, ...]:
    """Return those that the database has not had, in their order."""
    applied = _applied(db)
    return tuple(migration for migration in migrations if migration.number not in applied)


def newest_applied(db: MongoDatabase) -> int:
    """Return the version of the database: the newest migration up to which it has had all; 0 when
    it has had none."""
    applied = _applied(db)
    return next(number for number in count(0) if number + 1 not in applied)


def unknown_migrations(db: MongoDatabase, migrations: tuple[Migration, ...]) -> list[int]:
    """Return the numbers of those that the database has had and that are none of these: it comes
    from a later release."""
    return sorted(_recorded(db) - {migration.number for migration in migrations})


def roll_back(
    db: MongoDatabase, migrations: tuple[Migration, ...], to: int, turn: Turn | None = None
) -> int:
    """Undo what is newer than version `to`, the newest first; return the database's version.

    Each is struck from the record after it was undone, so a crash between the two undoes it again:
    `down` must bear that.
    """
    recorded = _recorded(db)
    for migration in reversed(migrations):
        if migration.number > to and migration.number in recorded:
            _undo(db, migration, turn)
    return newest_applied(db)


def _undo(db: MongoDatabase, migration: Migration, turn: Turn | None) -> None:
    own = {"_id": migration.number}
    _write(db, turn, lambda: db[COLLECTION].update_one(own, {"$set": {UNDOING: True}}))
    migration.down(db)
    _write(db, turn, lambda: db[COLLECTION].delete_one(own))


def migrate(db: MongoDatabase, migrations: tuple[Migration, ...], turn: Turn | None = None) -> int:
    """Apply what is pending, in order; return the number of the newest migration."""
    for creating, pending in groupby(pending_migrations(db, migrations), _only_creates):
        if creating:
            done_again(partial(_create, db, tuple(pending), turn))
            continue
        for migration in pending:
            done_again(partial(_apply, db, migration, turn))
    return migrations[-1].number


def _only_creates(migration: Migration) -> bool:
    return bool(migration.creates)


def _create(db: MongoDatabase, migrations: tuple[Migration, ...], turn: Turn | None) -> None:
    if turn:
        turn.ensure_alone()
    documents = [document for migration in migrations for document in migration.creates]
    make_collections(db, documents, COLLECTION)
    _record(db, turn, *migrations)


def _apply(db: MongoDatabase, migration: Migration, turn: Turn | None) -> None:
    if turn:
        turn.ensure_alone()
    migration.up(db)
    _record(db, turn, migration)


def _record(db: MongoDatabase, turn: Turn | None, *migrations: Migration) -> None:
    now = utc_now()
    records = [
        UpdateOne(
            {"_id": migration.number},
            {
                "$setOnInsert": {"name": migration.name, "appliedAt": now},
                "$unset": {UNDOING: ""},
            },
            upsert=True,
        )
        for migration in migrations
    ]
    _write(db, turn, lambda: db[COLLECTION].bulk_write(records))


def _write(db: MongoDatabase, turn: Turn | None, write: Callable[[], object]) -> None:
    if turn:
        turn.record(db, write)
    else:
        write()


def _applied(db: MongoDatabase) -> set[int]:
    applied = {**RECORDED, UNDOING: {"$exists": False}}
    return {it["_id"] for it in db[COLLECTION].find(applied, {"_id": 1})}


def _recorded(db: MongoDatabase) -> set[int]:
    """Of these, some may have been half undone."""
    return {it["_id"] for it in db[COLLECTION].find(RECORDED, {"_id": 1})}
