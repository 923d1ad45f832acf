"""docker-compose.yml, Dockerfile and what they use. No engine runs here: the files are read, and
what they run is run by hand where that needs none."""

import os
import re
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from dotenv import dotenv_values

from multitenant.config import Settings, load_settings
from tests.unit.test_config import PRODUCTION, ROOT

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
APPLICATION = ("app", "migrate")
USER = 10001
SETTINGS = {name.upper() for name in Settings.model_fields}


@pytest.mark.parametrize("name", APPLICATION)
def test_every_setting_but_the_secrets_can_be_set(name: str) -> None:
    """What stands under `environment` goes before docker.env."""
    pinned = {it.removesuffix("_FILE") for it in SERVICES[name]["environment"]}
    secrets = {"ADMIN_DB_URI", "JWT_SECRET_KEYS", "CREDENTIAL_KEYS", "OPERATOR_PASSWORD"}
    assert pinned == secrets | {"MULTITENANT_ENV"}
    assert SERVICES[name]["env_file"] == [
        {"path": "deploy/compose.env"},
        {"path": "docker.env", "required": False},
    ]


def test_the_settings_that_are_shipped_are_some_and_are_safe() -> None:
    shipped = {
        name: value or "" for name, value in dotenv_values(ROOT / "deploy/compose.env").items()
    }
    assert shipped.keys() <= SETTINGS
    settings = load_settings({**PRODUCTION, **shipped}, env_file=None)
    gateway = ip_address("172.18.0.1")
    assert any(gateway in network for network in settings.trusted_proxies)
    published = SERVICES["app"]["ports"]
    assert all(port.startswith("127.0.0.1:") for port in published), "the proxies are trusted"


def test_databases_are_migrated_before_the_application_starts() -> None:
    assert SERVICES["migrate"]["command"][-1] == "multitenant init && multitenant migrations run"
    completed = {"condition": "service_completed_successfully"}
    assert SERVICES["app"]["depends_on"] == {"migrate": completed}
    assert SERVICES["migrate"]["depends_on"] == {"replica-set": completed}


def test_a_health_check_changes_nothing_and_leaves_no_zombie() -> None:
    for name, service in SERVICES.items():
        assert "initiate" not in str(service.get("healthcheck"))
        runs_on = service.get("restart") or service.get("healthcheck") or name in APPLICATION
        assert service.get("init") or not runs_on, name
    assert "rs.initiate" in SERVICES["replica-set"]["command"][0]


def test_what_is_written_has_a_volume() -> None:
    mounted = {it.split(":")[0] for service in SERVICES.values() for it in service["volumes"]}
    assert mounted == set(COMPOSE["volumes"])
    app = {it.split(":")[1] for it in SERVICES["app"]["volumes"]}
    assert {"/backups", "/var/lib/multitenant"} <= app
    assert "INSTANCE_PATH=/var/lib/multitenant" in DOCKERFILE
    assert f"--owner={USER} --group={USER} --mode=0700 /var/lib/multitenant /backups" in DOCKERFILE


def test_no_server_takes_zlib() -> None:
    assert "--networkMessageCompressors=snappy,zstd" in SERVICES["mongo"]["command"]


def test_the_application_ends_before_it_is_killed() -> None:
    settings = load_settings(PRODUCTION, env_file=None)
    seconds = int(SERVICES["app"]["stop_grace_period"].removesuffix("s"))
    assert seconds >= settings.drain_seconds + settings.graceful_timeout + 10


def test_the_image_runs_as_a_number_and_installs_nothing_without_a_hash() -> None:
    assert re.findall(r"^USER (.*)$", DOCKERFILE, re.MULTILINE) == [f"{USER}:{USER}"]
    installs = re.findall(r"pip (?:install|wheel) [^\n&]*", DOCKERFILE)
    assert len(installs) == 4
    for install in installs:
        without_index = {"--no-index", "--no-build-isolation"} & set(install.split())
        assert "--require-hashes" in install or without_index, install
    built_with = (ROOT / "requirements/build.txt").read_text()
    assert re.search(r"^hatchling==\S+ \\\n +--hash=sha256:", built_with, re.MULTILINE)


def test_whatever_is_copied_into_the_image_is_there_and_not_ignored() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists()
            assert f"!{source}" in ignored


@pytest.mark.skipif(os.getuid() != 0, reason="gives files to the users of the containers")
def test_secrets_are_made_once_and_only_their_users_read_them(tmp_path: Path) -> None:
    script = SERVICES["secrets"]["command"][0].replace("$$", "$")
    script = script.replace("/run/secrets-volume", str(tmp_path))
    kept: dict[str, str] = {}
    for _ in range(2):
        subprocess.run(["bash", "-euc", script], check=True)
        made = {path.name: path for path in tmp_path.iterdir()}
        assert {path.stat().st_mode & 0o777 for path in made.values()} == {0o400}
        assert made["operator_password"].stat().st_uid == USER
        assert made["mongo_keyfile"].stat().st_uid == 999
        texts = {name: path.read_text() for name, path in made.items()}
        assert not kept or kept == texts
        kept = texts
    given = {f"{name.upper()}_FILE": str(tmp_path / name) for name in made if "mongo" not in name}
    environment = {"MULTITENANT_ENV": "production", "OPERATOR_EMAIL": "ops@acme.com", **given}
    assert load_settings(environment, env_file=None).production


class Answering(BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/readyz" else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None: ...


class OnIpv6(HTTPServer):
    address_family = socket.AF_INET6


@pytest.mark.parametrize(
    ("server_class", "host"),
    [(HTTPServer, "0.0.0.0"), (HTTPServer, ""), (OnIpv6, "::"), (OnIpv6, "[::1]")],
)
@pytest.mark.parametrize("status", [200, 503])
def test_the_health_check_asks_readyz_wherever_the_server_listens(
    server_class: type[HTTPServer], host: str, status: int
) -> None:
    handler = type("Handler", (Answering,), {"status": status})
    address = "::1" if server_class is OnIpv6 else "127.0.0.1"
    with server_class((address, 0), handler) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        environment = {"HOST": host, "PORT": str(server.server_port)}
        check = [sys.executable, str(ROOT / "deploy/healthcheck.py")]
        done = subprocess.run(check, env=environment)
        thread.join()
    assert done.returncode == (0 if status == 200 else 1)
    assert subprocess.run(check, env={"PORT": "1"}).returncode == 1
