"""The deployments of MongoDB that the platform runs."""

from mongoengine import (
    DateTimeField,
    DictField,
    Document,
    EmbeddedDocument,
    EmbeddedDocumentField,
    FloatField,
    IntField,
    ListField,
    LongField,
    StringField,
)

STATES = ("open", "draining", "closed")


class Capacity(EmbeddedDocument):  # type: ignore[misc]  # MongoEngine has no type hints
    """How much a cluster may hold in all; what is not named has no limit."""

    tenants = IntField(min_value=1)
    collections = IntField(min_value=1)
    indexes = IntField(min_value=1)
    disk_bytes = LongField(db_field="diskBytes", min_value=1)


class Measurement(EmbeddedDocument):  # type: ignore[misc]  # MongoEngine has no type hints
    """What one tenant of the cluster has on average, when so many were last looked at."""

    at = DateTimeField(required=True)
    tenants = IntField(required=True)
    collections = FloatField(required=True)
    indexes = FloatField(required=True)
    bytes = FloatField(required=True)
    disk_bytes = FloatField(db_field="diskBytes", required=True)


class Identity(EmbeddedDocument):  # type: ignore[misc]  # MongoEngine has no type hints
    """By which a deployment is known again, whatever URI leads to it."""

    id = StringField()
    """Its own id; absent where the platform's user may not ask for it."""
    members = ListField(StringField(), default=None)


class ClusterDocument(Document):  # type: ignore[misc]  # MongoEngine has no type hints
    """One cluster, by its name. That of the admin database, `default`, has no `uri`: it is in
    ADMIN_DB_URI. Any other one's is encrypted (see security/field_encryption.py).

    `open` takes new tenants, `draining` does not, and `closed` has none and is not connected to.
    """

    meta = {"collection": "clusters", "auto_create_index": False}

    id = StringField(primary_key=True)
    uri = DictField(default=None)
    state = StringField(required=True, choices=STATES)
    capacity = EmbeddedDocumentField(Capacity)
    identity = EmbeddedDocumentField(Identity)
    measured = EmbeddedDocumentField(Measurement)
    created_at = DateTimeField(db_field="createdAt", required=True)
    updated_at = DateTimeField(db_field="updatedAt", required=True)


class PlacesDocument(Document):  # type: ignore[misc]  # MongoEngine has no type hints
    """How many databases of tenants a cluster has at most: those that were counted at `at`, and
    all that were noted since. `at` is missing where none were counted yet.

    Not in the cluster's record: every process hears of its changes.
    """

    meta = {"collection": "places", "auto_create_index": False}

    id = StringField(primary_key=True)
    count = IntField(required=True)
    at = DateTimeField()
