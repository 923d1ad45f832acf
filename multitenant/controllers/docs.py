"""The OpenAPI document, and a page to read and try it; from files of installed packages alone."""

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Self, cast

import orjson
from flask import Blueprint, Response, current_app, redirect, request
from flask_openapi3 import OpenAPI
from werkzeug.wrappers import Response as WerkzeugResponse

from multitenant.middleware.access import public
from multitenant.openapi import build_document

ASSETS = resources.files("flask_openapi3_swagger") / "templates" / "swagger"
FILES = {
    "swagger-ui.css": (ASSETS / "css" / "swagger-ui.css", "text/css"),
    "swagger-ui-bundle.js": (ASSETS / "js" / "swagger-ui-bundle.js", "text/javascript"),
}
# Swagger UI sets styles of its own and shows small images that are part of its style sheet.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'"
)
PAGE = """\
<!DOCTYPE html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <title>Multitenant API</title>
    <link rel="stylesheet" href="docs/swagger-ui.css">
    <link rel="icon" href="data:,">
  </head>
  <body>
    <div id="swagger-ui"></div>
    <script src="docs/swagger-ui-bundle.js"></script>
    <script src="docs/start.js"></script>
  </body>
</html>
"""
START = """\
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  persistAuthorization: true,
  tryItOutEnabled: true,
  validatorUrl: null,
});
"""

KEPT = "openapi_document"
ALWAYS_ASK = "no-cache"
FOR_A_DAY = "public, max-age=86400"


@dataclass(frozen=True, slots=True)
class File:
    """The content of a file, and a tag that tells it from any other content."""

    content: bytes
    etag: str

    @classmethod
    def of(cls, content: bytes) -> Self:
        """The file of that content."""
        return cls(content, hashlib.sha256(content).hexdigest()[:32])

    def answer(self, mimetype: str, *, caching: str = ALWAYS_ASK) -> Response:
        """Answer the file, or 304 to who has it."""
        response = Response(self.content, mimetype=mimetype, headers={"Cache-Control": caching})
        response.set_etag(self.etag)
        response.make_conditional(request)
        return response


blueprint = Blueprint("docs", __name__)


@blueprint.get("/openapi.json")
@public
def document() -> Response:
    """Answer the OpenAPI document, as it is, without the envelope."""
    return _document().answer("application/json")


@blueprint.get("/docs")
@public
def page() -> Response:
    """Show the document, with forms to try it."""
    response = File.of(PAGE.encode()).answer("text/html")
    response.headers["Content-Security-Policy"] = PAGE_POLICY
    return response


@blueprint.get("/docs/")
@public
def page_with_slash() -> WerkzeugResponse:
    """Lead to the page."""
    return redirect("../docs")


@blueprint.get("/docs/start.js")
@public
def start() -> Response:
    """Answer the script that starts the page."""
    return File.of(START.encode()).answer("text/javascript")


@blueprint.get("/docs/swagger-ui.css")
@public
def style() -> Response:
    """Answer Swagger UI's style sheet."""
    return _file("swagger-ui.css")


@blueprint.get("/docs/swagger-ui-bundle.js")
@public
def script() -> Response:
    """Answer Swagger UI."""
    return _file("swagger-ui-bundle.js")


def _file(name: str) -> Response:
    return _read(name).answer(FILES[name][1], caching=FOR_A_DAY)


@cache
def _read(name: str) -> File:
    return File.of(FILES[name][0].read_bytes())


def _document() -> File:
    """The document as JSON, made once for each application."""
    kept = current_app.extensions
    if KEPT not in kept:
        kept[KEPT] = File.of(orjson.dumps(build_document(cast(OpenAPI, current_app))))
    return cast(File, kept[KEPT])
