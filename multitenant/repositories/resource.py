"""What every noun needs of its repository."""

from collections.abc import Mapping
from typing import Any

from bson import ObjectId
from mongoengine import Document

from multitenant.errors import NotFound
from multitenant.repositories.model import Model, MongoDatabase, MongoDocument, utc_now
from multitenant.schemas.paging import Page, PageQuery


class Resource:
    """Documents of one kind that are known by their ids, or those of them that fit `among`: to
    everything but `insert` there are no others."""

    def __init__(
        self, document: type[Document], noun: str, among: Mapping[str, Any] | None = None
    ) -> None:
        """`noun` is what an error calls one of them; `among` has fields by their stored names."""
        self._document = document
        self._noun = noun
        self._among = among or {}

    def insert(self, db: MongoDatabase, **fields: Any) -> MongoDocument:
        """Insert a document, made now, and return it. Raises AlreadyExists, ValidationFailed."""
        now = utc_now()
        return self._in(db).insert(**fields, created_at=now, updated_at=now)

    def find_page(self, db: MongoDatabase, query: PageQuery) -> Page:
        """Return a page of them, oldest first."""
        return self._in(db).find_page(self._among, query)

    def get(self, db: MongoDatabase, document_id: ObjectId) -> MongoDocument:
        """Return the document; raises NotFound."""
        return self._existing(self._in(db).find_one(self._one(document_id)))

    def update(self, db: MongoDatabase, document_id: ObjectId, **changes: Any) -> MongoDocument:
        """Change fields (None removes one) and return the document as it is then.

        Raises NotFound, AlreadyExists, ValidationFailed.
        """
        return self._existing(self._in(db).update(self._one(document_id), **changes))

    def delete(self, db: MongoDatabase, document_id: ObjectId) -> MongoDocument:
        """Delete the document and return it as it was; raises NotFound."""
        return self._existing(self._in(db).delete_one(self._one(document_id)))

    def _in(self, db: MongoDatabase) -> Model:
        return Model(db, self._document)

    def _one(self, document_id: ObjectId) -> dict[str, Any]:
        return {"_id": document_id, **self._among}

    def _existing(self, document: MongoDocument | None) -> MongoDocument:
        if document is None:
            raise NotFound(f"There is no such {self._noun}")
        return document
