"""mongodump's files, as bytes."""

import json
from collections.abc import Iterable
from pathlib import Path

import bson
import pytest

from multitenant.errors import BackupError
from multitenant.tenancy.contents.bson_streams import documents_of
from multitenant.tenancy.contents.collection_specs import CollectionSpec, ensure_name
from multitenant.tenancy.contents.dump_format import (
    read_documents,
    read_metadata,
    stem_of,
    write_documents,
    write_metadata,
)

DOCUMENTS = [bson.encode({"_id": number, "text": "x" * number}) for number in range(50)]


def chunks(data: bytes, size: int) -> Iterable[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


@pytest.mark.parametrize("size", [1, 3, 7, 64, 10_000])
def test_documents_are_found_wherever_the_stream_is_cut(size: int) -> None:
    assert list(documents_of(chunks(b"".join(DOCUMENTS), size))) == DOCUMENTS


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (DOCUMENTS[3][:-1], "middle of a document"),
        (DOCUMENTS[3] + b"\x01", "middle of a document"),
        (b"\x04\0\0\0", "no BSON document"),
        (b"\xff\xff\xff\xff", "no BSON document"),
        (b"\x05\0\0\0\x01", "no BSON document"),
        ((16 * 2**20 + 1).to_bytes(4, "little") + b"\0" * 10, "MongoDB takes 16777216"),
        (b"\xff\xff\xff\x7f", "MongoDB takes 16777216"),
    ],
)
def test_what_is_no_whole_document_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(BackupError, match=why):
        list(documents_of([data]))


def test_files_are_named_as_mongodump_names_them() -> None:
    """Never a path; long names end with a hash."""
    names = {
        "users": "users",
        "a.b-c_d~e": "a.b-c_d~e",
        "a/b": "a%2Fb",
        "../x": "..%2Fx",
        "50% ä": "50%25%20%C3%A4",
        "a$&+:=@b": "a$&+:=@b",
    }
    assert {name: stem_of(name) for name in names} == names
    long = stem_of("ä" * 90)
    assert len(long) == 238
    assert long.startswith("%C3%A4")
    assert stem_of("ä" * 90 + "b") != long


@pytest.mark.parametrize(
    "name",
    [
        *("", "../x", "..", ".hidden", "a..b", "a.", "a$b", "$cmd", "system.views", "system.users"),
        *("a\0b", "x" * 254),
    ],
)
def test_names_that_no_collection_of_a_tenant_has_are_refused(name: str) -> None:
    with pytest.raises(BackupError):
        ensure_name(name)


@pytest.mark.parametrize("gzipped", [False, True])
def test_what_is_written_is_read_again(tmp_path: Path, gzipped: bool) -> None:
    written = write_documents(
        tmp_path,
        "a/b",
        [b"".join(DOCUMENTS[:20]), b"".join(DOCUMENTS[20:])],
        gzipped=gzipped,
        progress=lambda _: None,
    )
    assert written.documents == len(DOCUMENTS)
    assert written.bytes == sum(map(len, DOCUMENTS))
    assert b"".join(read_documents(tmp_path, "a/b", gzipped=gzipped)) == b"".join(DOCUMENTS)
    index = {"v": 2, "key": {"b": 1, "a": -1}, "name": "b_1_a_-1", "unique": True}
    spec = CollectionSpec("a/b", "collection", {"capped": True, "size": 4096}, (index,), "00")
    sha256 = write_metadata(tmp_path, spec, gzipped=gzipped)
    read = read_metadata(tmp_path, "a/b", "collection", gzipped=gzipped, sha256=sha256)
    assert read == spec
    assert list(read.indexes[0]["key"]) == ["b", "a"]


def test_metadata_with_an_option_that_is_none_is_refused(tmp_path: Path) -> None:
    """What a create command would take besides must not get into it."""
    spec = CollectionSpec("users", "collection", {"$db": "admin"})
    sha256 = write_metadata(tmp_path, spec, gzipped=False)
    assert json.loads((tmp_path / "users.metadata.json").read_text())["options"]
    with pytest.raises(BackupError, match="options that are not taken"):
        read_metadata(tmp_path, "users", "collection", gzipped=False, sha256=sha256)
