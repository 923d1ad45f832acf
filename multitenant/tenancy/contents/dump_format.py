"""mongodump's files: `<collection>.bson` and `<collection>.metadata.json`, as they are or gzipped.

mongorestore reads what is written here, and what mongodump has written could be read here, but for
the manifest (manifest.py), which is ours and which mongorestore skips.
"""

import base64
import gzip
import hashlib
import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast
from urllib.parse import quote

import bson
from bson.errors import BSONError

from multitenant.errors import BackupError
from multitenant.repositories.model import MongoDocument
from multitenant.tenancy.contents import extended_json
from multitenant.tenancy.contents.bson_streams import documents_of
from multitenant.tenancy.contents.collection_specs import CollectionSpec, Kind
from multitenant.tenancy.contents.raw_documents import RAW

UNESCAPED = "$&+:=@"
"""Besides letters, digits and `_.-~`: as mongodump has it."""
MAX_STEM = 238
"""With `.metadata.json.gz` it makes the 255 bytes that file systems take."""
READ_BYTES = 2**20
MAX_METADATA_BYTES = 2**28
"""MongoDB takes 16 MiB of options, which are several times as long in JSON."""
EXACT = "bson"
"""Of metadata that JSON cannot express: the same as BSON, in Base64. mongorestore skips it."""
PRIVATE_FILE = 0o600
COMPRESSION = 6


@dataclass(frozen=True, slots=True)
class Written:
    """What a file of documents holds, uncompressed."""

    documents: int
    bytes: int
    sha256: str


def stem_of(name: str) -> str:
    """Return what the collection's files are called, without the ending; never a path."""
    escaped = quote(name, safe=UNESCAPED)
    if len(escaped) <= MAX_STEM:
        return escaped
    # What this stands for is not secret; it is how mongodump shortens names.
    digest = hashlib.sha1(name.encode(), usedforsecurity=False).digest()
    return f"{escaped[:208]}%24{base64.urlsafe_b64encode(digest).decode().rstrip('=')}"


def write_documents(
    directory: Path,
    name: str,
    batches: Iterable[bytes],
    *,
    gzipped: bool,
    progress: Callable[[int], None],
) -> Written:
    """Write the collection's documents to a new file; `progress` is called with the bytes of each
    batch. Raises BackupError for what is no whole document."""
    digest = hashlib.sha256()
    documents = size = 0
    with _new_file(_path(directory, name, "bson", gzipped=gzipped), gzipped=gzipped) as file:
        for batch in batches:
            documents += sum(1 for _ in documents_of([batch]))
            digest.update(batch)
            file.write(batch)
            size += len(batch)
            progress(len(batch))
    return Written(documents, size, digest.hexdigest())


def read_documents(directory: Path, name: str, *, gzipped: bool) -> Iterator[bytes]:
    """Go through the bytes of the collection's file. Raises BackupError when it is missing, or
    no (whole) gzip file."""
    path = _path(directory, name, "bson", gzipped=gzipped)
    with _opened(path, gzipped=gzipped) as file:
        while chunk := file.read(READ_BYTES):
            yield chunk


def write_metadata(directory: Path, spec: CollectionSpec, *, gzipped: bool) -> str:
    """Write the collection's options and indexes to a new file; return the SHA-256 of its text."""
    metadata: MongoDocument = {"options": spec.options} if spec.options else {}
    metadata |= {"indexes": list(spec.indexes), "uuid": spec.uuid, "collectionName": spec.name}
    metadata |= {"type": spec.kind}
    if not extended_json.is_exact(extended_json.dumps(metadata), metadata):
        exact = bson.encode({"options": spec.options, "indexes": list(spec.indexes)})
        metadata |= {EXACT: base64.b64encode(exact).decode()}
    text = extended_json.dumps(metadata).encode()
    if len(text) > MAX_METADATA_BYTES:
        raise BackupError(f"The options of {spec.name!r} are too large")
    path = _path(directory, spec.name, "metadata.json", gzipped=gzipped)
    with _new_file(path, gzipped=gzipped) as file:
        file.write(text)
    return hashlib.sha256(text).hexdigest()


def read_metadata(
    directory: Path, name: str, kind: Kind, *, gzipped: bool, sha256: str
) -> CollectionSpec:
    """Read the options and indexes of a collection. Raises BackupError when the file is missing,
    damaged, or not as `sha256` says."""
    path = _path(directory, name, "metadata.json", gzipped=gzipped)
    with _opened(path, gzipped=gzipped) as file:
        text = file.read(MAX_METADATA_BYTES)
    if hashlib.sha256(text).hexdigest() != sha256:
        raise BackupError(f"{path.name} is not what was written: its checksum is another")
    try:
        metadata = extended_json.loads(text)
        listed, uuid = metadata["collectionName"], metadata.get("uuid", "")
        kind_listed = metadata.get("type", "collection")
        if EXACT in metadata:
            metadata = bson.decode(base64.b64decode(metadata[EXACT]), RAW)
        options = dict(metadata.get("options", {}))
        indexes = tuple(dict(index) for index in metadata["indexes"])
    except (BSONError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise BackupError(f"{path.name} is not in mongodump's format") from error
    if listed != name or kind_listed != kind:
        raise BackupError(f"{path.name} is not in mongodump's format, or of another collection")
    spec = CollectionSpec(name, kind, options, indexes, str(uuid))
    spec.ensure_sound()
    return spec


def write_private(path: Path, text: str) -> None:
    """Write a new file that nobody else can read, and see it on the disk."""
    with _new_file(path, gzipped=False) as file:
        file.write(text.encode())


def sync_directory(directory: Path) -> None:
    """See on the disk what was made or renamed in the directory."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _path(directory: Path, name: str, ending: str, *, gzipped: bool) -> Path:
    return directory / f"{stem_of(name)}.{ending}{'.gz' if gzipped else ''}"


@contextmanager
def _new_file(path: Path, *, gzipped: bool) -> Iterator[IO[bytes]]:
    """A new file for its owner alone, which is on the disk when the block has ended."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    with os.fdopen(os.open(path, flags, PRIVATE_FILE), "wb") as raw:
        if gzipped:
            with gzip.GzipFile("", "wb", COMPRESSION, raw, mtime=0) as file:
                yield cast(IO[bytes], file)
        else:
            yield raw
        raw.flush()
        os.fsync(raw.fileno())


@contextmanager
def _opened(path: Path, *, gzipped: bool) -> Iterator[IO[bytes]]:
    if path.is_symlink() or not path.is_file():
        raise BackupError(f"{path.name} is missing")
    try:
        with gzip.open(path) if gzipped else path.open("rb") as file:
            yield cast(IO[bytes], file)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise BackupError(f"{path.name} is no whole gzip file") from error
