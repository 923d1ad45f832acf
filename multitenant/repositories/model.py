"""A MongoEngine document bound to one collection of one database.

`Model(db, Todo)` is what `conn.model("todos", schema)` is in Mongoose. The document class is the
schema: it validates what is written and declares the indexes. Commands go through PyMongo with
the given `Database`, so no global MongoEngine state exists that could point at another tenant.
Reads answer plain dicts, as stored.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from bson import ObjectId
from mongoengine import Document
from mongoengine import ValidationError as SchemaError
from pymongo import ReturnDocument
from pymongo.database import Database
from pymongo.errors import DuplicateKeyError

from multitenant.errors import AlreadyExists, ValidationFailed

MongoDocument = dict[str, Any]
MongoDatabase = Database[MongoDocument]


def utc_now() -> datetime:
    """The present time, to the millisecond that MongoDB keeps."""
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


class Model:
    """The operations that every repository builds on."""

    def __init__(self, db: MongoDatabase, document: type[Document]) -> None:
        self._document = document
        self._meta: dict[str, Any] = document._meta  # noqa: SLF001  # MongoEngine's, documented
        self.collection = db[self._meta["collection"]]

    def insert(self, **fields: Any) -> MongoDocument:
        """Validate and insert a new document; return it as stored.

        Raises AlreadyExists (with the field) and ValidationFailed.
        """
        instance = self._document(**fields)
        try:
            instance.validate()
        except SchemaError as error:
            raise self._refusal(error.errors) from error
        stored: MongoDocument = {"_id": ObjectId(), **instance.to_mongo()}
        try:
            self.collection.insert_one(stored)
        except DuplicateKeyError as error:
            raise _already_exists(error) from error
        return stored

    def update(self, query: Mapping[str, Any], **changes: Any) -> MongoDocument | None:
        """Validate `changes` and write them to the one document that fits `query`; None removes
        a field. Return the document as it is then, None when there is none.

        Raises AlreadyExists and ValidationFailed.
        """
        try:
            self._document(**changes).validate()
        except SchemaError as error:
            # The other fields are missing in this draft; only what changes is judged.
            wrong = {name: why for name, why in error.errors.items() if name in changes}
            if wrong:
                raise self._refusal(wrong) from error
        command: dict[str, dict[str, Any]] = {}
        for name, value in {"updated_at": utc_now(), **changes}.items():
            field = self._document._fields[name]
            operator = "$unset" if value is None else "$set"
            command.setdefault(operator, {})[field.db_field] = (
                "" if value is None else field.to_mongo(value)
            )
        try:
            return self.collection.find_one_and_update(
                query, command, return_document=ReturnDocument.AFTER
            )
        except DuplicateKeyError as error:
            raise _already_exists(error) from error

    def find_page(
        self,
        query: Mapping[str, Any],
        *,
        limit: int,
        after: ObjectId | None,
        newest_first: bool = False,
    ) -> list[MongoDocument]:
        """Return up to `limit` documents that fit `query`, in the order of `_id` (backwards with
        `newest_first`), from the one behind `after`."""
        if after is not None:
            query = {"$and": [query, {"_id": {"$lt" if newest_first else "$gt": after}}]}
        direction = -1 if newest_first else 1
        return list(self.collection.find(query).sort("_id", direction).limit(limit))

    def ensure_indexes(self) -> None:
        """Create every index that the schema declares. May be run again."""
        for spec in map(dict, self._meta["index_specs"]):
            spec.pop("cls", None)
            self.collection.create_index(spec.pop("fields"), **spec)

    def _refusal(self, errors: Mapping[str, Any]) -> ValidationFailed:
        return ValidationFailed(
            errors=[
                {"field": self._document._fields[name].db_field, "message": str(why)}
                for name, why in errors.items()
            ]
        )


def _already_exists(error: DuplicateKeyError) -> AlreadyExists:
    field = next(iter((error.details or {}).get("keyPattern", {"_id": 1})))
    return AlreadyExists(f"This {field} is already taken", incorrect_field=field)
