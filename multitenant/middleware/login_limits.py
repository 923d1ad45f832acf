"""How often anybody may try to log in: counted per address and per email, across all workers.

The counts are in the admin database, reached through the application's own client. While they
cannot be kept there, each worker counts for itself.
"""

import hashlib
import ipaddress
import time
from collections.abc import Callable
from typing import Any

from flask import Flask, current_app, request
from flask_limiter import Limiter
from flask_limiter.errors import RateLimitExceeded
from limits.storage import MongoDBStorage
from pymongo.write_concern import WriteConcern

from multitenant.errors import RateLimited
from multitenant.extensions import platform, platform_of
from multitenant.tenancy.clients import Client

NAME = "login_limits"
IPV6_PREFIX = 64  # what one customer of a provider has, and may change within at will


class AdminStorage(MongoDBStorage):
    """limits' storage on a client that is open already. A count that is lost in an election does
    no harm, so its writes wait for one server only."""

    STORAGE_SCHEME = ["multitenant"]  # noqa: RUF012  # limits' way to name a storage

    def _init_mongo_client(self, uri: str | None, **options: Any) -> Any:
        client: Callable[[], Client] = options["client"]
        return client()

    def __del__(self) -> None:
        """Leave the client alone; limits would close what it takes for its own."""

    @property
    def _database(self) -> Any:
        return super()._database.with_options(write_concern=WriteConcern(1))


def init_app(app: Flask) -> None:
    """Prepare the counting; nothing is opened before the first login."""
    built = platform_of(app)
    options: dict[str, Any] = {
        "client": lambda: built.connections.admin_client,
        "database_name": built.settings.admin_db_name,
        "counter_collection_name": "ratelimitcounters",
        "window_collection_name": "ratelimits",
    }
    app.extensions[NAME] = Limiter(
        key_func=_address,
        app=app,
        strategy="moving-window",
        storage_uri="multitenant://",
        storage_options=options,
        in_memory_fallback_enabled=True,
    )


def limit_login(email: str) -> None:
    """Count a login from this request's address and for this email; raise RateLimited when there
    were more than LOGIN_RATE_LIMIT allows."""
    limiter: Limiter = current_app.extensions[NAME]
    limits = platform().settings.login_rate_limit
    try:
        with (
            limiter.limit(limits, key_func=_address, scope="login"),
            limiter.limit(limits, key_func=lambda: _email_key(email), scope="login"),
        ):
            pass
    except RateLimitExceeded as error:
        current = limiter.current_limit
        seconds = int(current.reset_at - time.time()) + 1 if current else 1
        raise RateLimited(
            "Too many logins from this address or for this email; try again later",
            retry_after=max(1, seconds),
        ) from error


def _address() -> str:
    """The address that a request came from, of IPv6 the network."""
    text = request.remote_addr or "unknown"
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return text
    if isinstance(address, ipaddress.IPv6Address) and not address.ipv4_mapped:
        return str(ipaddress.ip_network((address, IPV6_PREFIX), strict=False))
    return text


def _email_key(email: str) -> str:
    """A key of bounded length, without characters that mean something to a storage."""
    return "email-" + hashlib.sha256(email.encode()).hexdigest()
