"""Addresses as people and URLs write them: an IPv6 address is in brackets before a port."""

from ipaddress import IPv6Address, ip_address


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


def parse_address(address: str) -> tuple[str, str]:
    """Return host and port of `host:port` or `[host]:port`; the port is empty if there is none."""
    if address.startswith("["):
        host, _, rest = address[1:].partition("]")
        return host, rest.removeprefix(":")
    host, _, port = address.partition(":")
    return host, port


def is_same_host(host: str, other: str) -> bool:
    """Whether both are one name, or one address, in whatever spelling."""
    if is_ipv6(host) and is_ipv6(other):
        return IPv6Address(host) == IPv6Address(other)
    return host.lower() == other.lower()


def is_loopback(host: str) -> bool:
    """Whether the host is this machine itself, by its name, address, or socket."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost") or host.startswith("/")


def is_ipv6(host: str) -> bool:
    """Whether that is an IPv6 address."""
    try:
        IPv6Address(host)
    except ValueError:
        return False
    return True
