"""Every request has an id, in its log records and its answer, and one line in the log."""

import logging
import re
import secrets
import time

from flask import Flask, Response, g, request

from multitenant.logs import clear_log_context, set_log_context

logger = logging.getLogger("multitenant.access")

REQUEST_ID_HEADER = "X-Request-ID"
SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


def init_app(app: Flask) -> None:
    """Give every request its id and log it when it is answered."""

    @app.before_request
    def begin() -> None:
        sent = request.headers.get(REQUEST_ID_HEADER, "")
        g.request_id = sent if SANE_REQUEST_ID.fullmatch(sent) else secrets.token_hex(16)
        g.started = time.perf_counter()
        set_log_context(requestId=g.request_id)

    @app.after_request
    def end(response: Response) -> Response:
        response.headers[REQUEST_ID_HEADER] = g.request_id
        logger.info(
            "request",
            extra={
                "method": request.method,
                "path": request.path,
                "status": response.status_code,
                "durationMs": round((time.perf_counter() - g.started) * 1000, 1),
                "ip": request.remote_addr,
            },
        )
        return response

    @app.teardown_request
    def forget(_: BaseException | None) -> None:
        clear_log_context()
