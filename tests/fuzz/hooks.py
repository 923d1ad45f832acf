"""What Schemathesis needs of us while it runs: who sends the requests.

The environment says it: FUZZ_URL, FUZZ_EMAIL and FUZZ_PASSWORD; nobody, without the latter two.
"""

import os
from functools import cache
from typing import Any

import httpx
import schemathesis

Case = schemathesis.Case[Any]
LONGEST_URL = 8000
"""gunicorn itself refuses longer ones, in HTML: no answer of the application's."""


@schemathesis.hook
def filter_case(context: schemathesis.HookContext, case: Case) -> bool:
    """Leave out what never reaches the application."""
    url = httpx.URL(case.formatted_path, params=case.query or None)
    return len(str(url)) < LONGEST_URL


class Session(schemathesis.AuthProvider[str]):
    """One session for everything, but for what uses a session up."""

    def get(self, case: Case, context: schemathesis.AuthContext) -> str | None:
        """Return the token to send with the request."""
        if "FUZZ_EMAIL" not in os.environ:
            return None
        if case.path == "/api/logout":
            return _log_in()["accessToken"]
        if case.path == "/api/refresh":
            return _log_in()["refreshToken"]
        return _session()["accessToken"]

    def set(self, case: Case, data: str, context: schemathesis.AuthContext) -> None:
        """Send it."""
        case.headers["Authorization"] = f"Bearer {data}"


schemathesis.auth(refresh_interval=None)(Session)


def _log_in() -> dict[str, str]:
    credentials = {"email": os.environ["FUZZ_EMAIL"], "password": os.environ["FUZZ_PASSWORD"]}
    response = httpx.post(f"{os.environ['FUZZ_URL']}/api/login", json=credentials)
    session: dict[str, str] = response.json()["responseObject"]
    return session


_session = cache(_log_in)
