"""Cutting a stream of bytes into BSON documents, without decoding them."""

from collections.abc import Iterable, Iterator

from multitenant.errors import BackupError

MIN_BYTES = 5
MAX_BYTES = 16 * 2**20
"""MongoDB's own limit of a document."""


def documents_of(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Go through the documents in `chunks`, which may end anywhere.

    Raises BackupError where a document is cut off, is none, or is larger than MongoDB takes.
    """
    rest = b""
    for chunk in chunks:
        buffer = rest + chunk if rest else chunk
        start, end = 0, len(buffer)
        while end - start >= 4:
            size = int.from_bytes(buffer[start : start + 4], "little", signed=True)
            if not MIN_BYTES <= size <= MAX_BYTES:
                raise BackupError(_wrong_size(size))
            if end - start < size:
                break
            if buffer[start + size - 1]:
                raise BackupError("holds something that is no BSON document")
            yield buffer[start : start + size]
            start += size
        rest = buffer[start:]
    if rest:
        raise BackupError("ends in the middle of a document")


def _wrong_size(size: int) -> str:
    if size > MAX_BYTES:
        return f"holds a document of {size} bytes, and MongoDB takes {MAX_BYTES} at most"
    return "holds something that is no BSON document"
