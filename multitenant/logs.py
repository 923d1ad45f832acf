"""Logging: JSON lines for machines, one readable line for people; both say which request and
which tenant a record belongs to."""

import re
from contextvars import ContextVar
from logging import Filter, Formatter, LogRecord
from typing import Any

from pythonjsonlogger.orjson import OrjsonFormatter

from multitenant.config import Settings

# What the request in hand adds to every record: requestId, tenantId, userId.
_context: ContextVar[dict[str, str] | None] = ContextVar("log_context", default=None)

CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e]")
ACCESS_FIELDS = ("method", "path", "status", "durationMs", "ip")


def set_log_context(**fields: str) -> None:
    """Add exactly these fields to every record of this thread from now on."""
    _context.set(fields)


def add_log_context(**fields: str) -> None:
    """Add these fields as well."""
    _context.set({**(_context.get() or {}), **fields})


def clear_log_context() -> None:
    """Add nothing any more."""
    _context.set(None)


class ContextFilter(Filter):
    """Adds the request's context to each record."""

    def filter(self, record: LogRecord) -> bool:
        """Let every record pass, completed."""
        record.__dict__.update(_context.get() or {})
        return True


class JsonFormatter(OrjsonFormatter):
    """One JSON object in a line. What terminals and viewers take for the end of a line, or for a
    command, is escaped also where JSON would not ask for it."""

    def format(self, record: LogRecord) -> str:
        """Return the line."""
        line: str = super().format(record)
        return CONTROL_CHARACTER.sub(lambda found: f"\\u{ord(found[0]):04x}", line)


class ConsoleFormatter(Formatter):
    """`12:00:00 INFO multitenant.access GET /api/users/me 200 [request=… tenant=…]`.

    Control characters in a message are escaped, so that nobody writes a second line into it. A
    traceback keeps its lines, indented, so that none of them looks like a record: the text of an
    error may be anybody's.
    """

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s %(message)s", "%H:%M:%S")

    def formatMessage(self, record: LogRecord) -> str:  # noqa: N802  # logging's name
        """Return the first line."""
        record.message = record.message.encode("unicode_escape").decode("ascii")
        fields = [str(record.__dict__[name]) for name in ACCESS_FIELDS if name in record.__dict__]
        context = [
            f"{label}={record.__dict__[name]}"
            for label, name in (("request", "requestId"), ("tenant", "tenantId"))
            if name in record.__dict__
        ]
        extra = " ".join(fields).encode("unicode_escape").decode("ascii")
        return " ".join(
            part
            for part in (super().formatMessage(record), extra, f"[{' '.join(context)}]")
            if part and part != "[]"
        )

    def formatException(self, ei: Any) -> str:  # noqa: N802  # logging's name
        """Return the traceback."""
        lines = super().formatException(ei).split("\n")
        return "\n".join(f"    {CONTROL_CHARACTER.sub(_escaped, line)}" for line in lines)


def _escaped(character: re.Match[str]) -> str:
    return character[0].encode("unicode_escape").decode("ascii")


def logging_config(settings: Settings) -> dict[str, Any]:
    """Return the configuration for `logging.config.dictConfig`; gunicorn takes it as well."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"context": {"()": ContextFilter}},
        "formatters": {
            "json": {
                "()": JsonFormatter,
                "fmt": "{levelname}{name}{message}",
                "style": "{",
                "timestamp": "time",
                "rename_fields": {"levelname": "level", "name": "logger"},
            },
            "console": {"()": ConsoleFormatter},
        },
        "handlers": {
            "stderr": {
                "class": "logging.StreamHandler",
                "formatter": settings.log_format,
                "filters": ["context"],
            }
        },
        "root": {"level": settings.log_level, "handlers": ["stderr"]},
        "loggers": {
            "gunicorn.error": {"level": settings.log_level, "handlers": [], "propagate": True},
            "gunicorn.access": {"level": "WARNING", "handlers": [], "propagate": True},
            "werkzeug": {"level": "INFO", "handlers": [], "propagate": True},
            "pymongo": {"level": "WARNING", "handlers": [], "propagate": True},
        },
    }
