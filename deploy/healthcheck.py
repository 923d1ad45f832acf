"""Exit with 0 if `/readyz` of the server in this container answers 200."""

import http.client
import os
import sys

SECONDS = 2.0
EVERY_ADDRESS = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # not bound


def is_ready() -> bool:
    """Whether it is."""
    host = os.environ.get("HOST", "").strip("[]")
    port = int(os.environ.get("PORT") or 5000)
    connection = http.client.HTTPConnection(EVERY_ADDRESS.get(host, host), port, timeout=SECONDS)
    try:
        connection.request("GET", "/readyz", headers={"Host": "localhost"})
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False


if __name__ == "__main__":
    sys.exit(0 if is_ready() else 1)
