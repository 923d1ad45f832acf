"""gunicorn's own log."""

from typing import Any

from gunicorn.glogging import Logger


class ServerLog(Logger):  # type: ignore[misc]  # gunicorn has no type hints
    """Without a line for each request: the application writes one, which knows the tenant."""

    def access(self, resp: Any, req: Any, environ: Any, request_time: Any) -> None:
        """Do nothing, in no time; gunicorn would put together what a handler then drops."""
