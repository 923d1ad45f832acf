"""Checks of the settings, and of what this machine makes of them."""

import os
import socket
import urllib.request
from urllib.error import URLError

from pymongo.uri_parser import parse_uri

from multitenant.addresses import format_address, is_ipv6, is_loopback
from multitenant.tenancy.operations.doctor.subject import Subject
from multitenant.tenancy.operations.doctor.verdict import Verdict, bad, good, poor

HTTP_SECONDS = 2.0


def look_at_settings(subject: Subject) -> Verdict:
    """They were loaded, so each is well-formed, and safe where the environment is production."""
    settings = subject.settings
    if settings.production:
        return good("production; all are well-formed and safe")
    uri = settings.admin_db_uri.get_secret_value()
    if uri.startswith("mongodb+srv://") or not all(
        is_loopback(host) for host, _ in parse_uri(uri, warn=False)["nodelist"]
    ):
        return poor(
            "development, on a MongoDB of another machine",
            "where other people's data is, set MULTITENANT_ENV=production, which refuses what is"
            " unsafe",
        )
    return good("development; all are well-formed")


def look_at_secret_files(subject: Subject) -> Verdict:
    """What is kept in INSTANCE_PATH is nobody else's business."""
    path = subject.settings.instance_path
    if not path.is_dir():
        return good(f"{path} does not exist, so no secret is kept there")
    open_ones = [it.name for it in sorted(path.iterdir()) if it.stat().st_mode & 0o077]
    if open_ones:
        return poor(
            f"others on this machine may read, in {path}: {', '.join(open_ones)}",
            f"chmod -R go= {path}",
        )
    return good(f"only its owner reads {path}")


def look_at_port(subject: Subject) -> Verdict:
    """PORT is free, or this application serves there."""
    host, port, address = subject.settings.host, subject.settings.port, subject.settings.address
    family = socket.AF_INET6 if is_ipv6(host) else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except PermissionError:
            return poor(
                f"this user may not listen on port {port}", "set PORT to one from 1024 upwards"
            )
        except OSError as error:
            if _serves(host, port):
                return good(f"the application serves on {address}")
            return bad(
                f"{address} cannot be used: {error.strerror}",
                "set HOST and PORT to an address of this machine that nothing else listens on",
            )
    return good(f"{address} is free")


def _serves(host: str, port: int) -> bool:
    """Whether what listens there is this application."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  # not bound
    try:
        url = f"http://{format_address(reachable, port)}/healthz"
        with urllib.request.urlopen(url, timeout=HTTP_SECONDS) as answer:  # http
            return b"responseObject" in answer.read(1000)
    except (URLError, OSError, ValueError):
        return False


def look_at_workers(subject: Subject) -> Verdict:
    """As many processes as the cores can bear, and a connection for each of their threads (under
    gevent, requests wait for a connection by design)."""
    settings = subject.settings
    cores = os.cpu_count() or 1
    if settings.worker_class == "gthread" and settings.max_pool_size <= settings.threads:
        return poor(
            f"THREADS={settings.threads} and the change stream share"
            f" MAX_POOL_SIZE={settings.max_pool_size} connections, and wait for each other",
            f"set MAX_POOL_SIZE to {settings.threads + 1} or more, or lower THREADS",
        )
    if settings.workers > 2 * cores + 1:
        return poor(
            f"WORKERS={settings.workers} on {cores} cores",
            f"{2 * cores + 1} are plenty; each has connections and memory of its own",
        )
    return good(f"{settings.workers} {settings.worker_class} workers on {cores} cores")
