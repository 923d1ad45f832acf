"""Addresses as people and URLs write them: an IPv6 address is in brackets before a port."""

from ipaddress import IPv6Address


def format_address(host: str, port: int | None) -> str:
    """Return `host:port`, or the host where there is no port."""
    shown = f"[{host}]" if is_ipv6(host) else host
    return f"{shown}:{port}" if port else shown


def without_brackets(host: str) -> str:
    """Return the host, with the brackets around an IPv6 address taken off. Raises ValueError for
    brackets around anything else, and for a zone, which gunicorn does not know."""
    if "%" in host:
        raise ValueError("a zone, as in 'fe80::1%eth0', cannot be listened on; use '::'")
    if not host.startswith("[") and not host.endswith("]"):
        return host
    if not (host.startswith("[") and host.endswith("]") and is_ipv6(host[1:-1])):
        raise ValueError("brackets belong around an IPv6 address alone, such as '[::1]'")
    return host[1:-1]


def is_ipv6(host: str) -> bool:
    """Whether that is an IPv6 address."""
    try:
        IPv6Address(host)
    except ValueError:
        return False
    return True
