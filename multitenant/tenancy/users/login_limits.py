"""How often anybody may try to log in: counted across all workers."""

import hashlib
import ipaddress
from collections.abc import Callable

from limits import parse_many

from multitenant.repositories.model import MongoDatabase
from multitenant.tenancy.users.rate_limits import RateLimits

IPV6_PREFIX = 64  # what one customer of a provider has, and may change within at will


class LoginLimits:
    """Counts logins by address and by email."""

    def __init__(
        self,
        limits: str,
        admin_db: Callable[[], MongoDatabase],
        now: Callable[[], float],
        *,
        seconds: float,
    ) -> None:
        """`limits` is in the notation of the library of that name, such as `20 per minute`; the
        rest is as in RateLimits."""
        self._limits = parse_many(limits)
        self._counts = RateLimits("login", admin_db, now, seconds=seconds, exactly=True)

    def count(self, address: str | None, email: str | None) -> None:
        """Count one login, or whatever else checks or sets a password; raise RateLimited when
        there were more than the limits allow, from this address (of IPv6, this network) or for
        this email. Accepting an invitation has no email."""
        keys = [_address_key(address), *([_email_key(email)] if email else ())]
        self._counts.count(
            [(key, self._limits) for key in keys],
            "Too many logins from this address or for this email; try again later",
        )


def _address_key(address: str | None) -> str:
    text = address or "unknown"
    try:
        ip = ipaddress.ip_address(text)
    except ValueError:
        return text
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped:
            return str(ip.ipv4_mapped)
        return str(ipaddress.ip_network((ip, IPV6_PREFIX), strict=False))
    return text


def _email_key(email: str) -> str:
    """A key of bounded length, which does not tell the email."""
    return "email-" + hashlib.sha256(email.encode()).hexdigest()
