"""What HTTP lets a client say twice or ask for besides, read in one way.

A request target in absolute form (`GET http://acme.example/path`) names a host. It counts, and the
Host header does not (RFC 9112, 3.2.2). `Upgrade` asks for another protocol, which a server may
ignore (RFC 9110, 7.8): this one speaks no other, and answers as without it.
"""

from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from flask import Flask


def init_app(app: Flask) -> None:
    """Read every request in this way."""
    wsgi_app = RequestTarget(app.wsgi_app)
    app.wsgi_app = wsgi_app  # type: ignore[method-assign]  # Flask's documented way


class RequestTarget:
    """WSGI middleware that sets the request's host, and leaves no upgrade in it."""

    def __init__(self, wsgi_app: Any) -> None:
        self._wsgi_app = wsgi_app

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Serve one request."""
        target: str = environ.get("RAW_URI", "/")
        if not target.startswith("/"):
            host = _host(target)
            if host is not None:
                environ["HTTP_HOST"] = host
        environ.pop("HTTP_UPGRADE", None)
        body: Iterable[bytes] = self._wsgi_app(environ, start_response)
        return body


def _host(target: str) -> str | None:
    """The host of a target in absolute form; None where it is in another one."""
    try:
        parts = urlsplit(target)
    except ValueError:  # brackets that are no address
        return ""
    return parts.netloc if parts.scheme in ("http", "https") else None
