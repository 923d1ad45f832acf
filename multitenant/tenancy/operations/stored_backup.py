"""A backup as it lies on the disk: checked, and read."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from multitenant.errors import BackupError
from multitenant.tenancy.contents.bson_streams import documents_of
from multitenant.tenancy.contents.collection_specs import CollectionSpec
from multitenant.tenancy.contents.copying import Progress
from multitenant.tenancy.contents.dump_format import read_documents, read_metadata
from multitenant.tenancy.contents.manifest import BackedUpCollection, Manifest
from multitenant.tenancy.migrations import TENANT_VERSION


class StoredBackup:
    """One tenant's backup. Nothing in it is believed that the manifest does not say, too."""

    def __init__(self, directory: Path) -> None:
        """Raises BackupError when there is no (sound) manifest, and when the backup comes from a
        later release."""
        self._directory = directory
        self.manifest = Manifest.read(directory)
        if self.manifest.schema_version > TENANT_VERSION:
            raise BackupError(
                f"This backup has schema version {self.manifest.schema_version}, and this release"
                f" knows {TENANT_VERSION}: use the release that made it, or a later one"
            )

    def verify(self, progress: Progress) -> None:
        """Read all of it and return if every file is there and as it was written. Raises
        BackupError that names the first which is not."""
        for collection, (spec, chunks) in zip(
            self.manifest.collections, self.contents(), strict=True
        ):
            documents = 0
            try:
                for document in documents_of(chunks):
                    documents += 1
                    progress(len(document))
            except BackupError as error:
                raise BackupError(f"The documents of {spec.name!r}: {error}") from error
            if documents != collection.documents:
                raise BackupError(
                    f"{spec.name!r} has {documents} documents, and {collection.documents} were"
                    " written"
                )

    def contents(self) -> Iterator[tuple[CollectionSpec, Iterator[bytes]]]:
        """Go through the collections and then the views, each with the bytes of its documents.
        Raises BackupError, at the end of a collection, when those are not what was written."""
        for collection in self.manifest.collections:
            spec = read_metadata(
                self._directory,
                collection.name,
                collection.kind,
                gzipped=self.manifest.gzipped,
                sha256=collection.metadata_sha256,
            )
            yield spec, self._documents(collection, spec.stored_in)

    def _documents(self, collection: BackedUpCollection, stored_in: str) -> Iterator[bytes]:
        if collection.kind == "view":
            return
        digest = hashlib.sha256()
        size = 0
        for chunk in read_documents(self._directory, stored_in, gzipped=self.manifest.gzipped):
            digest.update(chunk)
            size += len(chunk)
            yield chunk
        if (size, digest.hexdigest()) != (collection.bytes, collection.sha256):
            raise BackupError("they are not what was written: the checksum is another")
