"""The databases of a platform right after its first start: made once, and taken back to that state
for each test, since making some thirty collections takes mongod longer than most tests."""

import itertools
import os
from typing import Any

from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pydantic import SecretStr
from pymongo import MongoClient
from pymongo.database import Database

from multitenant import create_app
from multitenant.config import Settings
from multitenant.extensions import platform_of
from multitenant.tenancy.lifecycle.initialisation import initialise
from tests.support import OPERATOR_EMAIL, OPERATOR_PASSWORD

Document = dict[str, Any]
RAW: CodecOptions[Any] = CodecOptions(document_class=RawBSONDocument)
_numbers = itertools.count(1)


def fresh_name() -> str:
    """A prefix for the names of databases, which no other test of any process has."""
    return f"t{os.getpid()}x{next(_numbers)}"


def start_for_the_first_time(settings: Settings) -> None:
    """Do what the first start does: migrate the admin database, and add the operators' tenant."""
    platform = platform_of(create_app(settings))
    initialise(
        platform.connections,
        platform.provisioner,
        email=OPERATOR_EMAIL,
        password=SecretStr(OPERATOR_PASSWORD),
        made_up_password=lambda: "the password was given",
    )
    platform.close(timeout=0)


class FirstStart:
    """The admin database and the operators' database, as a first start with `settings` leaves
    them. `mongo` is a client with all rights."""

    def __init__(self, mongo: MongoClient[Document], settings: Settings) -> None:
        start_for_the_first_time(settings)
        self.admin_db_name = settings.admin_db_name
        admin_db = mongo[self.admin_db_name]
        operators = admin_db["tenants"].find_one({"system": True})
        assert operators is not None
        self._saved = [_Saved(admin_db), _Saved(mongo[operators["dbName"]])]

    def restore(self, mongo: MongoClient[Document]) -> bool:
        """Take both back to that state; return False where a test has changed more than documents,
        so that other databases are needed."""
        return all(saved.restore(mongo) for saved in self._saved)


class _Saved:
    """The collections, indexes and documents of one database."""

    def __init__(self, db: Database[Document]) -> None:
        self._name = db.name
        self._indexes = {name: _indexes(db, name) for name in db.list_collection_names()}
        self._documents = {name: _documents(db, name) for name in self._indexes}

    def restore(self, mongo: MongoClient[Document]) -> bool:
        db = mongo[self._name]
        names = db.list_collection_names()
        for name in names:
            saved = self._documents.get(name, [])
            if _documents(db, name) != saved:
                db[name].delete_many({})
                if saved:
                    db.get_collection(name, codec_options=RAW).insert_many(saved)
        return all(
            name in names and _indexes(db, name) == indexes
            for name, indexes in self._indexes.items()
        )


def _documents(db: Database[Document], name: str) -> list[Any]:
    return list(db.get_collection(name, codec_options=RAW).find().sort("_id"))


def _indexes(db: Database[Document], name: str) -> list[Document]:
    return [dict(index) for index in db[name].list_indexes()]
