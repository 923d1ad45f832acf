"""Listening on IPv6 addresses."""

import json
import os
import socket
import subprocess
from pathlib import Path

import httpx
import pytest

from tests import plain_http
from tests.e2e.server import GUNICORN, MULTITENANT, MULTITENANT_RUN, ROOT, Server
from tests.support import PATIENCE_SECONDS, eventually


def has_ipv6() -> bool:
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            return False
    return True


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6"),
]


def answers(host: str, port: int) -> bool:
    try:
        return plain_http.get(f"http://{host}:{port}/readyz").status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.parametrize("worker_class", ["gevent", "gthread"])
@pytest.mark.parametrize(
    ("host", "command", "reached"),
    [
        ("::1", MULTITENANT_RUN, ("[::1]",)),
        ("[::1]", (*GUNICORN, "wsgi:app"), ("[::1]",)),
        ("::", MULTITENANT_RUN, ("[::1]", "127.0.0.1")),
    ],
)
def test_a_server_listens_there_and_says_so(
    environment: dict[str, str],
    tmp_path: Path,
    host: str,
    command: tuple[str, ...],
    reached: tuple[str, ...],
) -> None:
    changed = environment | {"HOST": host, "WORKERS": "1"}
    with Server(command, changed, tmp_path) as server:
        eventually(lambda: all(answers(address, server.port) for address in reached))
        shown = f"http://[{host.strip('[]')}]:{server.port}"
        assert shown in server.log
        variables = {**changed, "PORT": str(server.port), "PYTHONPATH": str(ROOT)}
        doctor = subprocess.run(
            (*MULTITENANT, "doctor", "--json"),
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], **variables},
            capture_output=True,
            text=True,
        )
        assert doctor.stdout, doctor.stderr
        findings = {it["check"]: it["found"] for it in json.loads(doctor.stdout)["findings"]}
        assert findings["port"] == f"the application serves on {shown.removeprefix('http://')}"
        assert '"level":"ERROR"' not in server.log


def test_a_taken_port_is_named_with_brackets(environment: dict[str, str], tmp_path: Path) -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as taken:
        port = str(taken.getsockname()[1])
        changed = environment | {"HOST": "::1", "PORT": port}
        with Server(MULTITENANT_RUN, changed, tmp_path) as server:
            assert server.process.wait(PATIENCE_SECONDS) == 1
            assert f"Error: PORT: [::1]:{port} address already in use" in server.log


def test_an_address_of_another_machine_is_hosts_fault(
    environment: dict[str, str], tmp_path: Path
) -> None:
    with Server(MULTITENANT_RUN, environment | {"HOST": "2001:db8::7"}, tmp_path) as server:
        assert server.process.wait(PATIENCE_SECONDS) == 1
        assert "Error: HOST: [2001:db8::7]:" in server.log
