"""A MongoEngine document bound to one collection of one database.

`Model(db, Todo)` is what `conn.model("todos", schema)` is in Mongoose. The document class is the
schema: it validates what is written and declares the indexes. Commands go through PyMongo with
the given `Database`, so no global MongoEngine state exists that could point at another tenant.
Reads answer plain dicts, as stored; whatever is stored can be read (see bounded_reads.py).
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from bson import ObjectId
from bson.raw_bson import RawBSONDocument
from mongoengine import Document
from mongoengine import ValidationError as SchemaError
from pymongo import IndexModel, ReturnDocument
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import DuplicateKeyError

from multitenant.clock import CLOCK
from multitenant.errors import AlreadyExists, ValidationFailed
from multitenant.repositories import bounded_reads
from multitenant.repositories.durability import write_concern
from multitenant.schemas.paging import Page, PageQuery
from multitenant.schemas.positions import LENIENT

MongoDocument = dict[str, Any]
MongoDatabase = Database[MongoDocument]


def utc_now() -> datetime:
    """The present time (see clock.py), to the millisecond that MongoDB keeps."""
    now = datetime.fromtimestamp(CLOCK.now(), UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


class Model:
    """The operations that every repository builds on."""

    def __init__(self, db: MongoDatabase, document: type[Document]) -> None:
        self._document = document
        self._meta: dict[str, Any] = document._meta  # noqa: SLF001  # MongoEngine's, documented
        self._db = db
        self.name: str = self._meta["collection"]
        self._write_concern = write_concern()

    @cached_property
    def collection(self) -> Collection[MongoDocument]:
        """The collection, for what has no method here."""
        return self._db.get_collection(self.name, LENIENT, write_concern=self._write_concern)

    @cached_property
    def raw(self) -> Collection[RawBSONDocument]:
        """The same, not decoded."""
        raw: Collection[Any] = self._db.get_collection(
            self.name,
            bounded_reads.RAW,
            write_concern=self._write_concern,
        )
        return raw

    def insert(self, **fields: Any) -> MongoDocument:
        """Validate and insert a new document; return it as stored.

        Raises AlreadyExists (with the field) and ValidationFailed.
        """
        stored = {"_id": ObjectId(), **self._validated(fields)}
        try:
            self.collection.insert_one(stored)
        except DuplicateKeyError as error:
            raise _already_exists(error) from error
        return stored

    def insert_all(self, documents: Iterable[Mapping[str, Any]]) -> list[MongoDocument]:
        """Validate and insert new documents with one command; return them as stored, in order.

        Raises ValidationFailed before any is inserted.
        """
        stored = [{"_id": ObjectId(), **self._validated(fields)} for fields in documents]
        self.collection.insert_many(stored)
        return stored

    def upsert(self, query: Mapping[str, Any], **fields: Any) -> MongoDocument:
        """Validate `fields` and write them to the one document that fits `query`, which is made
        if there is none; return it as stored. A unique index must keep it the only one, and
        `query` must be about the field of that index alone: then MongoDB settles races.

        Raises ValidationFailed.
        """
        now = utc_now()
        whole = self._validated({**fields, "created_at": now, "updated_at": now})
        changing = {name: whole[name] for name in whole if name not in (*query, "createdAt")}
        upserted = self.raw.find_one_and_update(
            query,
            {"$set": changing, "$setOnInsert": {"createdAt": now}},
            upsert=True,
            return_document=ReturnDocument.AFTER,
        )
        assert upserted is not None
        return bounded_reads.decode(bytes(upserted.raw))

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
            return _decoded(
                self.raw.find_one_and_update(query, command, return_document=ReturnDocument.AFTER)
            )
        except DuplicateKeyError as error:
            raise _already_exists(error) from error

    def delete_one(self, query: Mapping[str, Any]) -> MongoDocument | None:
        """Delete the one document that fits `query` and return it as it was, None when there is
        none."""
        return _decoded(self.raw.find_one_and_delete(query))

    def find_one(self, query: Mapping[str, Any]) -> MongoDocument | None:
        """Return the one document that fits `query`, None when there is none."""
        return _decoded(self.raw.find_one(query))

    def find_page(
        self, query: Mapping[str, Any], page: PageQuery, *, newest_first: bool = False
    ) -> Page:
        """Return the page of the documents that fit `query`, oldest first unless told otherwise.

        Documents whose `_id` is no ObjectId are left out: nothing else can name them. The page is
        bounded in bytes as well. The schema should declare an index that ends with the page's
        `order_by` and `_id`. Raises InvalidCursor.
        """
        by, direction = page.order_by, -1 if newest_first else 1
        # As an expression, which MongoDB does not try to use an index for.
        conditions = [query, {"$expr": {"$eq": [{"$type": "$_id"}, "objectId"]}}]
        if after := page.after(self.name):
            conditions.append(after.query_beyond(by, newest_first=newest_first))
        with self.raw.find_raw_batches(
            {"$and": conditions},
            sort=[(by, direction), ("_id", direction)],
            limit=page.limit + 1,
            batch_size=bounded_reads.BATCH_DOCUMENTS,
        ) as batches:
            found, more = bounded_reads.read_page(batches, page.limit)
        return Page.of(found, by, collection=self.name, more=more)

    def fits(self, document: MongoDocument) -> bool:
        """Whether the fields that the schema knows are as it says, in a document as stored."""
        names = {field.db_field: name for name, field in self._document._fields.items()}
        fields = {names[stored]: value for stored, value in document.items() if stored in names}
        try:
            instance = self._document(**fields)
            instance.validate()
            as_it_should_be = instance.to_mongo()
        except Exception:  # noqa: BLE001  # whatever MongoEngine finds in whatever is there
            return False
        known = (stored for stored in document if stored in names)
        return all(as_it_should_be.get(stored) == document[stored] for stored in known)

    def declared_indexes(self) -> list[IndexModel]:
        """The indexes that the schema declares."""
        indexes = []
        for spec in map(dict, self._meta["index_specs"]):
            spec.pop("cls", None)
            indexes.append(IndexModel(spec.pop("fields"), **spec))
        return indexes

    def ensure_indexes(self) -> None:
        """Create every index that the schema declares. May be run again."""
        if indexes := self.declared_indexes():
            self.collection.create_indexes(indexes)

    def _validated(self, fields: Mapping[str, Any]) -> MongoDocument:
        """A whole document in the form in which it is stored; raises ValidationFailed."""
        instance = self._document(**fields)
        try:
            instance.validate()
        except SchemaError as error:
            raise self._refusal(error.errors) from error
        return dict(instance.to_mongo())

    def _refusal(self, errors: Mapping[str, Any]) -> ValidationFailed:
        return ValidationFailed(
            errors=[
                {"field": self._document._fields[name].db_field, "message": str(why)}
                for name, why in errors.items()
            ]
        )


def shorten(page: Page, count: int, document: type[Document]) -> Page:
    """Return the first `count` items of a page of these documents, as a page."""
    if count == len(page.items):
        return page
    collection: str = document._meta["collection"]  # noqa: SLF001  # as in Model
    return Page.of(page.items[:count], PageQuery.order_by, collection=collection, more=True)


def _decoded(found: RawBSONDocument | None) -> MongoDocument | None:
    return None if found is None else bounded_reads.decode(bytes(found.raw))


def _already_exists(error: DuplicateKeyError) -> AlreadyExists:
    """With the value, which came from the caller; compared by a collation, it is another text."""
    details = error.details or {}
    field, taken = next(iter(details.get("keyValue", {}).items()), ("_id", None))
    if field == "domains":
        return AlreadyExists(f"The domain {taken} is already taken", incorrect_field=field)
    return AlreadyExists(f"This {field} is already taken", incorrect_field=field)
