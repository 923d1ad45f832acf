"""`multitenant run` on a machine that has nothing: it brings its own MongoDB."""

import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from tests.e2e.server import MULTITENANT, MULTITENANT_RUN, Server, free_port
from tests.support import OPERATOR_EMAIL, PASSWORD, PATIENCE_SECONDS, is_running

ENVIRONMENT = {
    "MULTITENANT_ENV": "development",
    "WORKERS": "1",
    "BCRYPT_ROUNDS": "4",
    "OPERATOR_EMAIL": OPERATOR_EMAIL,
}


def start(directory: Path) -> Server:
    return Server(MULTITENANT_RUN, ENVIRONMENT | {"PORT": str(free_port())}, directory)


def mongod_pid(directory: Path) -> int:
    return int((directory / "instance/mongodb/data/mongod.lock").read_text())


def operator_password(directory: Path) -> str:
    return (directory / "instance/operator-password").read_text()


def test_a_taken_port_is_named_before_anything_is_started(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        with Server(MULTITENANT_RUN, ENVIRONMENT | {"PORT": port}, tmp_path) as server:
            assert server.process.wait(timeout=PATIENCE_SECONDS) == 1
            assert f"Error: PORT: 127.0.0.1:{port} address already in use" in server.log
    assert not (tmp_path / "instance" / "mongodb").exists()


def test_from_nothing_to_a_tenant_and_back_again(tmp_path: Path) -> None:
    """First start, clean stop, a start that finds everything, a crash, and a start after it."""
    with start(tmp_path) as first:
        first.wait_until_ready()
        password = operator_password(tmp_path)
        assert first.log.count(password) == 1, "the password is printed once"
        secrets = list((tmp_path / "instance").glob("*"))
        assert {path.name for path in secrets} == {
            "jwt_secret_keys",
            "credential_keys",
            "operator-password",
            "mongodb",
        }
        assert all(path.stat().st_mode & 0o077 == 0 for path in secrets)
        with first.login(password=password) as operator:
            body = {"name": "Acme", "email": "owner@acme.example", "password": PASSWORD}
            assert operator.post("/api/add", json=body).status_code == 201
        mongod = mongod_pid(tmp_path)
        assert is_running(mongod)

        with start(tmp_path) as second:
            assert second.process.wait(timeout=PATIENCE_SECONDS) == 1
            assert "is in use by another running application" in second.log
            assert f"process {first.process.pid}" in second.log
            assert "Traceback" not in second.log
        with first.login(password=password) as operator:
            assert operator.get("/api/tenants").status_code == 200

        gc = (*MULTITENANT, "tenants", "gc", "--dry-run")
        with Server(gc, ENVIRONMENT, tmp_path) as beside:
            assert beside.process.wait(timeout=PATIENCE_SECONDS) == 0
            assert "0 things to remove" in beside.log, "it joins the running MongoDB"

        assert first.stop(signal.SIGTERM) == 0
    assert not is_running(mongod), "mongod must stop with the application"

    with start(tmp_path) as third:
        third.wait_until_ready()
        assert password not in third.log
        with third.login("owner@acme.example", PASSWORD) as owner:
            assert owner.post("/api/to-do-list", json={"title": "kept"}).status_code == 201
        orphan = mongod_pid(tmp_path)
        third.process.kill()
        third.process.wait()

    with start(tmp_path) as fourth:
        fourth.wait_until_ready()
        assert not is_running(orphan)
        with fourth.login("owner@acme.example", PASSWORD) as owner:
            items = owner.get("/api/to-do-list").json()["responseObject"]["items"]
        assert [item["title"] for item in items] == ["kept"]
        assert fourth.stop(signal.SIGINT) == 0
    assert mongod_pid_or_none(tmp_path) is None, "a clean stop empties the file"


def mongod_pid_or_none(directory: Path) -> int | None:
    try:
        return mongod_pid(directory)
    except ValueError:
        return None


@pytest.mark.parametrize("wanted", ["SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR2"])
@pytest.mark.parametrize("delay", [0.4, 0.9])
def test_a_signal_during_a_command_leaves_no_mongod(
    tmp_path: Path, wanted: str, delay: float
) -> None:
    with Server((*MULTITENANT, "init"), ENVIRONMENT, tmp_path) as server:
        time.sleep(delay)
        server.stop(signal.Signals[wanted])
    commands = subprocess.run(["ps", "-wweo", "args"], capture_output=True, text=True, check=True)
    assert str(tmp_path / "instance") not in commands.stdout


def test_wrong_settings_stop_the_start_with_one_message(tmp_path: Path) -> None:
    environment = {"PORT": "99999", "MULTITENANT_ENV": "production", "BCRYPT_ROUNDS": "4"}
    with Server(MULTITENANT_RUN, environment | {"PORT": "99999"}, tmp_path) as server:
        assert server.process.wait(timeout=PATIENCE_SECONDS) == 1
        for name in ("PORT", "ADMIN_DB_URI", "JWT_SECRET_KEYS", "BCRYPT_ROUNDS", "OPERATOR_EMAIL"):
            assert f"  {name}: " in server.log
        assert "Traceback" not in server.log
