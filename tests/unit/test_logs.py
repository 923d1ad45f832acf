"""Log lines: whole, attributable, and one line each."""

import io
import json
import logging
import logging.config
from collections.abc import Iterator
from pathlib import Path

import pytest

from multitenant.config import load_settings
from multitenant.logs import add_log_context, clear_log_context, logging_config, set_log_context


@pytest.fixture(params=["json", "console"])
def lines(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, io.StringIO]]:
    """The format, and what is written to the log in it."""
    environment = {
        "MULTITENANT_ENV": "development",
        "LOG_FORMAT": request.param,
        "INSTANCE_PATH": str(tmp_path),
    }
    config = logging_config(load_settings(environment, env_file=None))
    stream = io.StringIO()
    config["handlers"]["stderr"]["stream"] = stream
    root = logging.getLogger()
    kept = root.handlers[:]
    logging.config.dictConfig(config)
    yield request.param, stream
    clear_log_context()
    root.handlers[:] = kept


def test_a_record_carries_request_tenant_and_fields(lines: tuple[str, io.StringIO]) -> None:
    form, stream = lines
    set_log_context(requestId="r1")
    add_log_context(tenantId="t1")
    logging.getLogger("x").info("request", extra={"method": "GET", "path": "/api", "status": 200})

    text = stream.getvalue()
    if form == "json":
        entry = json.loads(text)
        assert entry["level"] == "INFO"
        assert entry["time"]
        assert (entry["requestId"], entry["tenantId"], entry["status"]) == ("r1", "t1", 200)
    else:
        assert text.endswith("INFO    x request GET /api 200 [request=r1 tenant=t1]\n")


def test_nobody_writes_a_line_of_their_own(lines: tuple[str, io.StringIO]) -> None:
    _, stream = lines
    forged = "x\n12:00:00 CRITICAL forged\r\x1b[31m"
    logging.getLogger("x").info(forged, extra={"path": forged})
    assert len(stream.getvalue().splitlines()) == 1
    assert "\x1b" not in stream.getvalue()


def test_the_context_ends_with_the_request(lines: tuple[str, io.StringIO]) -> None:
    _, stream = lines
    set_log_context(requestId="r1")
    clear_log_context()
    logging.getLogger("x").info("later")
    assert "r1" not in stream.getvalue()


@pytest.mark.parametrize("character", ["\u2028", "\x85", "\x9b", "\x7f", "\u202e"])
def test_nor_with_what_others_take_for_a_line_end_or_a_command(
    lines: tuple[str, io.StringIO], character: str
) -> None:
    form, stream = lines
    text = f"x{character}y"
    logging.getLogger("x").info(text, extra={"path": text})
    assert character not in stream.getvalue()
    if form == "json":
        entry = json.loads(stream.getvalue())
        assert (entry["message"], entry["path"]) == (text, text), "it says the same"


def test_no_line_of_a_traceback_looks_like_a_record(lines: tuple[str, io.StringIO]) -> None:
    """The text of an error may be anybody's."""
    _, stream = lines
    try:
        raise RuntimeError("no such thing: x\n12:00:00 CRITICAL forged\x1b[31m\r{}")
    except RuntimeError:
        logging.getLogger("x").exception("failed")
    first, *rest = stream.getvalue().splitlines()
    assert "failed" in first
    assert all(line.startswith("    ") for line in rest)
    assert "\x1b" not in stream.getvalue()


def test_a_traceback_is_logged(lines: tuple[str, io.StringIO]) -> None:
    _, stream = lines
    try:
        raise RuntimeError("why")
    except RuntimeError:
        logging.getLogger("x").exception("failed")
    assert "RuntimeError: why" in stream.getvalue()
