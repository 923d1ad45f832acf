"""Finding a mongod, and saying what to do when there is none or it does not start.

Starting, stopping and taking over a real one is in tests/integration/test_embedded.py.
"""

from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from multitenant.embedded import EmbeddedServer, EmbeddedServerError, find_mongod


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_the_configured_binary_comes_first(tmp_path: Path) -> None:
    mongod = script(tmp_path / "mongod", "exit 0")
    assert find_mongod(mongod) == Path(mongod)


def test_a_configured_binary_that_is_none_is_named() -> None:
    with pytest.raises(EmbeddedServerError, match="MONGOD_BINARY is /nowhere"):
        find_mongod("/nowhere")


def test_the_one_on_the_path_comes_before_the_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mongod = script(tmp_path / "mongod", "exit 0")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_mongod() == Path(mongod)


def test_without_any_the_message_names_every_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(name: str) -> Any:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(metadata, "distribution", none)
    with pytest.raises(EmbeddedServerError) as caught:
        find_mongod()
    for way in ("multitenant[embedded]", "MONGOD_BINARY", "docker compose up", "ADMIN_DB_URI"):
        assert way in str(caught.value)


def test_a_missing_library_is_named_with_the_package_to_install(tmp_path: Path) -> None:
    complaint = (
        "mongod: error while loading shared libraries: libcurl.so.4: cannot open shared object file"
    )
    mongod = script(tmp_path / "mongod", f"echo '{complaint}' >&2; exit 127")
    with pytest.raises(EmbeddedServerError, match=r"libcurl\.so\.4.*apt-get install libcurl4"):
        EmbeddedServer(tmp_path / "data", binary=mongod).start()


def test_a_mongod_that_ends_at_once_is_reported_with_its_own_reason(tmp_path: Path) -> None:
    line = '{"s":"E","msg":"Failed","attr":{"error":"No space left on device"}}'
    mongod = script(tmp_path / "mongod", f"echo '{line}'; exit 1")
    with pytest.raises(EmbeddedServerError, match="No space left on device"):
        EmbeddedServer(tmp_path / "data", binary=mongod).start()
