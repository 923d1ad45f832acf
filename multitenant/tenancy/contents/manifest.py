"""What a backup says of itself: whose it is, of when, and what must be in it.

Nothing in it is secret. The files beside it are: they hold all of a tenant's data.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal, Self

from bson.timestamp import Timestamp
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic.alias_generators import to_camel

from multitenant.errors import BackupError
from multitenant.repositories.model import MongoDocument
from multitenant.schemas.admin.tenants import Modules, UserLimit
from multitenant.schemas.payload import Id, Line, Time
from multitenant.tenancy.contents.collection_specs import Kind, ensure_name
from multitenant.tenancy.contents.dump_format import write_private

FILE = "manifest.json"
FORMAT = 1
MAX_BYTES = 2**26
"""Of the file: of some 100,000 collections."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(strict=True, ge=0)]


class _Part(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True
    )


class BackedUpTenant(_Part):
    """What a tenant's record says that is the tenant's own, and no secret."""

    id: Id
    name: Annotated[Line, Field(max_length=100)]
    """Not by the rules for new names, which its tenant may be older than."""
    system: bool
    isolation: Literal["shared", "dedicated"]
    modules: Modules | None = None
    user_limit: UserLimit | None = None

    @classmethod
    def of(cls, record: MongoDocument) -> Self:
        """What the record says. Raises BackupError for one that is damaged."""
        try:
            return cls(
                id=record["_id"],
                name=record["name"],
                system=record["system"],
                isolation=record["isolation"],
                modules=record.get("modules"),
                user_limit=record.get("userLimit"),
            )
        except ValidationError as error:
            wrong = ", ".join(to_camel(str(problem["loc"][0])) for problem in error.errors())
            raise BackupError(
                f"The record of the tenant {record['_id']} is damaged: look at {wrong}"
            ) from error


class BackedUpCollection(_Part):
    """One collection or view, and what its files hold, uncompressed."""

    name: str
    kind: Kind = Field(alias="type")
    metadata_sha256: Sha256
    documents: Count = 0
    bytes: Count = 0
    sha256: Sha256 | None = None
    """None for a view, which has no documents."""

    @field_validator("name")
    @classmethod
    def _is_a_tenants(cls, name: str) -> str:
        try:
            ensure_name(name)
        except BackupError as error:
            raise ValueError(str(error)) from error
        return name


class Moment(_Part):
    """A moment of the cluster's time."""

    at: Time
    seconds: Count
    increment: Count

    @classmethod
    def of(cls, moment: Timestamp) -> Self:
        """The same."""
        return cls(
            at=datetime.fromtimestamp(moment.time, UTC), seconds=moment.time, increment=moment.inc
        )


class Manifest(_Part):
    """All of it."""

    format: Literal[1] = 1
    tenant: BackedUpTenant
    db_name: str
    mongodb_version: str
    schema_version: Count
    snapshot: Moment
    gzipped: bool
    collections: list[BackedUpCollection]

    @field_validator("collections")
    @classmethod
    def _names_differ(cls, collections: list[BackedUpCollection]) -> list[BackedUpCollection]:
        names = [collection.name for collection in collections]
        if len(set(names)) != len(names):
            raise ValueError("a collection is listed twice")
        return collections

    @property
    def bytes(self) -> int:
        """Of all documents."""
        return sum(collection.bytes for collection in self.collections)

    @property
    def documents(self) -> int:
        """In all collections."""
        return sum(collection.documents for collection in self.collections)

    def write(self, directory: Path) -> None:
        """Write the file, the last of the backup. Raises BackupError where it could not be read."""
        text = self.model_dump_json(by_alias=True, indent=1, exclude_none=True)
        if len(text.encode()) >= MAX_BYTES:
            raise BackupError("There are more collections than a backup may have")
        write_private(directory / FILE, text + "\n")

    @classmethod
    def read(cls, directory: Path) -> Self:
        """Read the file. Raises BackupError when there is none, or none of this release's."""
        path = directory / FILE
        if path.is_symlink() or not path.is_file():
            raise BackupError(f"{directory} is no backup: it has no {FILE}")
        if path.stat().st_size > MAX_BYTES:
            raise BackupError(f"{FILE} is too large to be one")
        text = path.read_bytes()
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"]))
            if where == "format":
                raise BackupError(
                    f"This backup has another format than {FORMAT}: it takes the release that"
                    " made it, or a later one"
                ) from error
            raise BackupError(f"{FILE} is damaged: {where or 'it'}: {first['msg']}") from error
