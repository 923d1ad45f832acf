"""The one shape of every answer."""

from typing import Any

import orjson
from flask import Response


def answer(response_object: Any, message: str, status: int = 200) -> Response:
    """Return a successful answer; `response_object` is JSON-ready."""
    return _envelope(True, status, message, response_object)


def failure(status: int, message: str, response_object: dict[str, Any]) -> Response:
    """Return an error's answer."""
    return _envelope(False, status, message, response_object)


def _envelope(success: bool, status: int, message: str, response_object: Any) -> Response:
    body = {
        "success": success,
        "statusCode": status,
        "message": message,
        "responseObject": response_object,
    }
    return Response(orjson.dumps(body), status=status, mimetype="application/json")
