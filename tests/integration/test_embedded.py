"""The embedded server: a real mongod that survives what happens to it."""

import os
import shutil
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from multitenant.embedded import EmbeddedServer, EmbeddedServerError
from tests.support import is_running


def count(uri: str) -> int:
    with MongoClient[dict[str, Any]](uri) as client:
        client["data"]["things"].insert_one({})
        return client["data"]["things"].count_documents({})


def test_it_has_transactions_change_streams_and_authentication(
    mongod: EmbeddedServer, mongo: MongoClient[dict[str, Any]]
) -> None:
    with mongo["x"]["things"].watch() as stream:
        with mongo.start_session() as session, session.start_transaction():
            mongo["x"]["things"].insert_one({"_id": 1}, session=session)
            mongo["y"]["things"].insert_one({"_id": 1}, session=session)
        assert stream.next()["documentKey"] == {"_id": 1}
    stranger = MongoClient[dict[str, Any]](f"127.0.0.1:{mongod._port}", directConnection=True)
    with stranger, pytest.raises(OperationFailure, match="requires authentication"):
        stranger["x"]["things"].find_one()


@pytest.mark.slow
def test_data_and_address_survive_a_stop_and_a_crash(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path) as server:
        first = server.uri
        assert count(first) == 1
    with EmbeddedServer(tmp_path) as server:
        assert server.uri == first
        assert count(first) == 2
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
    with EmbeddedServer(tmp_path) as server:
        assert count(server.uri) == 3


@pytest.mark.slow
def test_it_moves_to_another_port_when_its_own_is_taken(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path) as server:
        count(server.uri)
        port = server._port
    with socket.create_server(("127.0.0.1", port)) as squatter:
        squatter.settimeout(60)
        hanging_up = threading.Thread(target=_hang_up_on_everybody, args=(squatter,))
        hanging_up.start()
        with EmbeddedServer(tmp_path) as server:
            assert server._port != port
            assert count(server.uri) == 2
        squatter.shutdown(socket.SHUT_RDWR)
        hanging_up.join()


def _hang_up_on_everybody(squatter: socket.socket) -> None:
    while True:
        try:
            squatter.accept()[0].close()
        except OSError:
            return


def test_a_directory_belongs_to_one_running_application(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path) as server:
        read, write = os.pipe()
        child = os.fork()  # the lock is the process's: another one is needed to be refused
        if child == 0:
            try:
                EmbeddedServer(tmp_path).start()
            except EmbeddedServerError as error:
                os.write(write, str(error).encode())
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        message = os.read(read, 1000).decode()
        assert f"in use by another running application (process {os.getpid()})" in message
        assert "INSTANCE_PATH" in message
        assert count(server.uri) == 1, "the one that runs is not disturbed"
        os.close(read)
        os.close(write)


def test_a_directory_belongs_to_one_server_of_a_process(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path) as server:
        with pytest.raises(EmbeddedServerError, match="in use by this process"):
            EmbeddedServer(tmp_path).start()
        assert count(server.uri) == 1


@pytest.mark.slow
def test_a_lost_password_is_reported_and_deletes_nothing(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path) as server:
        count(server.uri)
    password = (tmp_path / "password").read_text()
    (tmp_path / "password").unlink()
    with pytest.raises(EmbeddedServerError, match="Authentication failed"):
        EmbeddedServer(tmp_path).start()
    (tmp_path / "password").write_text(password)
    with EmbeddedServer(tmp_path) as server:
        assert count(server.uri) == 2


@pytest.mark.slow
def test_lost_data_is_a_new_beginning(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path) as server:
        count(server.uri)
    shutil.rmtree(tmp_path / "data")
    with EmbeddedServer(tmp_path) as server:
        assert count(server.uri) == 1


def test_a_forked_child_does_not_stop_the_server(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path) as server:
        child = os.fork()
        if child == 0:
            server.stop()
            os._exit(0)
        os.waitpid(child, 0)
        assert count(server.uri) == 1


@pytest.mark.parametrize("delay", [0.05, 0.3, 0.5, 0.6])
@pytest.mark.slow
def test_an_application_killed_during_its_first_start_leaves_a_directory_that_starts(
    tmp_path: Path, delay: float
) -> None:
    child = os.fork()
    if child == 0:
        EmbeddedServer(tmp_path).start()
        time.sleep(60)
    time.sleep(delay)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)

    with EmbeddedServer(tmp_path) as server:
        assert count(server.uri) == 1


@pytest.mark.slow
def test_the_next_start_takes_over_from_a_killed_application(tmp_path: Path) -> None:
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        server = EmbeddedServer(tmp_path)
        server.start()
        count(server.uri)
        os.write(write, str(server.pid).encode())
        time.sleep(60)
    orphan = int(os.read(read, 20))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(read)
    os.close(write)

    with EmbeddedServer(tmp_path) as server:
        assert count(server.uri) == 2
        assert server.pid != orphan
        assert not is_running(orphan)


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become somebody else")
@pytest.mark.slow
def test_it_runs_as_an_ordinary_user(tmp_path: Path) -> None:
    for directory in (tmp_path, *tmp_path.parents[:3]):
        directory.chmod(0o755)
    home = tmp_path / "home"
    home.mkdir()
    os.chown(home, 65534, 65534)
    child = os.fork()
    if child == 0:
        os.setgid(65534)
        os.setuid(65534)
        things = 0
        try:
            with EmbeddedServer(home) as server:
                things = count(server.uri)
        finally:
            os._exit(0 if things == 1 else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert (home / "mongod.log").stat().st_uid == 65534
