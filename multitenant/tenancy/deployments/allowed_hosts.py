"""TENANT_URI_ALLOWED_HOSTS: to which servers of other people the platform connects."""

import re
from collections.abc import Sequence

from multitenant.addresses import is_same_host, parse_address

Address = tuple[str, int | None]


def is_allowed(server: Address, allowed: Sequence[str]) -> bool:
    """Whether one of the patterns fits the server: one host or, with `*.`, every host below a
    domain; on any port, or the one that it names."""
    host, port = server
    return any(_fits(host.lower(), port, pattern) for pattern in allowed)


def _fits(host: str, port: int | None, pattern: str) -> bool:
    wanted, wanted_port = parse_address(pattern)
    if wanted_port and str(port) != wanted_port:
        return False
    if wanted.startswith("*."):
        return re.fullmatch(rf"[a-z0-9.-]+{re.escape(wanted[1:])}", host) is not None
    return is_same_host(host, wanted)
