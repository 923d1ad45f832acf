"""However `multitenant run` ends, it takes its workers and its MongoDB with it."""

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.server import MULTITENANT_RUN, ROOT, Server, free_port
from tests.e2e.test_run_command import ENVIRONMENT, mongod_pid, start
from tests.support import PATIENCE_SECONDS, eventually, is_running

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the next start ends it"),
]


def processes_of(directory: Path) -> list[str]:
    """The commands that have something to do with the directory."""
    commands = subprocess.run(["ps", "-wweo", "args"], capture_output=True, text=True, check=True)
    return [command for command in commands.stdout.splitlines() if str(directory) in command]


class InTerminal:
    """The command in a terminal of its own, whose output is read by nobody but a file."""

    def __init__(self, directory: Path, command: tuple[str, ...]) -> None:
        self.environment = ENVIRONMENT | {"PORT": str(free_port()), "PYTHONPATH": str(ROOT)}
        log = directory / "server.log"
        log.touch()
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            try:
                os.chdir(directory)
                output = os.open(log, os.O_WRONLY | os.O_CREAT)
                os.dup2(output, 1)
                os.dup2(output, 2)
                os.execve(command[0], command, {"PATH": os.environ["PATH"], **self.environment})
            finally:
                os._exit(127)
        eventually(lambda: "Booting worker" in log.read_text())

    def close(self) -> None:
        os.close(self.terminal)
        os.waitpid(self.pid, 0)


def test_a_terminal_that_is_closed_leaves_nothing_behind(tmp_path: Path) -> None:
    run = InTerminal(tmp_path, MULTITENANT_RUN)
    mongod = mongod_pid(tmp_path)
    run.close()
    assert not is_running(mongod)
    assert processes_of(tmp_path) == []


def test_a_shell_that_is_killed_in_its_terminal_leaves_nothing_behind(tmp_path: Path) -> None:
    shell = ("/bin/sh", "-c", f"{' '.join(MULTITENANT_RUN)}; true")
    run = InTerminal(tmp_path, shell)
    mongod = mongod_pid(tmp_path)
    os.kill(run.pid, signal.SIGKILL)
    run.close()
    eventually(lambda: processes_of(tmp_path) == [] and not is_running(mongod))


def test_with_nohup_it_stays(tmp_path: Path) -> None:
    run = InTerminal(tmp_path, ("/usr/bin/nohup", *MULTITENANT_RUN))
    mongod = mongod_pid(tmp_path)
    os.close(run.terminal)
    os.kill(run.pid, signal.SIGHUP)
    log = tmp_path / "server.log"
    eventually(lambda: "Handling signal: hup" in log.read_text())
    os.kill(run.pid, signal.SIGTTIN)  # it begins one more worker
    eventually(lambda: log.read_text().count("Booting worker") == 2)
    assert is_running(mongod)
    os.kill(run.pid, signal.SIGTERM)
    os.waitpid(run.pid, 0)
    assert not is_running(mongod)


@pytest.mark.parametrize("wanted", ["SIGINT", "SIGTERM", "SIGQUIT"])
def test_a_signal_that_comes_twice_ends_it_in_order(tmp_path: Path, wanted: str) -> None:
    """As Ctrl-C does, to all processes of the group."""
    run = InTerminal(tmp_path, MULTITENANT_RUN)
    mongod = mongod_pid(tmp_path)
    for _ in range(2):
        os.killpg(run.pid, signal.Signals[wanted])
    _, status = os.waitpid(run.pid, 0)
    os.close(run.terminal)
    assert os.waitstatus_to_exitcode(status) == 0
    assert not is_running(mongod)


def test_one_that_is_killed_takes_its_mongodb_with_it(tmp_path: Path) -> None:
    with start(tmp_path) as server:
        server.wait_until_ready()
        mongod = mongod_pid(tmp_path)
        server.process.kill()
        server.process.wait()
        eventually(lambda: not is_running(mongod) and processes_of(tmp_path) == [])


def test_sighup_begins_new_workers_on_the_same_port(
    environment: dict[str, str], tmp_path: Path
) -> None:
    with Server(MULTITENANT_RUN, environment | {"WORKERS": "1"}, tmp_path) as server:
        server.wait_until_ready()
        for times in (2, 3):
            server.process.send_signal(signal.SIGHUP)
            eventually(lambda times=times: len(server.workers) == times)  # type: ignore[misc]
            with server.login() as operator:
                assert operator.get("/api/tenants").status_code == 200
        assert server.stop() == 0


def test_sigusr2_is_ignored_where_the_mongodb_is_its_own(tmp_path: Path) -> None:
    with start(tmp_path) as server:
        server.wait_until_ready()
        server.process.send_signal(signal.SIGUSR2)
        eventually(lambda: "SIGUSR2 ignored" in server.log)
        assert server.wait_until_ready()
        assert server.stop() == 0


@pytest.mark.parametrize("worker_class", ["gevent", "gthread"])
def test_sigusr2_begins_a_new_master_that_goes_on_alone(
    environment: dict[str, str], tmp_path: Path, worker_class: str
) -> None:
    changed = environment | {"WORKERS": "1", "WORKER_CLASS": worker_class}
    with Server(MULTITENANT_RUN, changed, tmp_path) as server:
        server.wait_until_ready()
        server.process.send_signal(signal.SIGUSR2)
        eventually(lambda: len(server.workers) == 2 or server.process.poll() is not None)
        new = int(server.log.split("Listening at: ")[2].split("(")[1].split(")")[0])
        try:
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(PATIENCE_SECONDS) == 0
            eventually(lambda: "Master has been promoted" in server.log)
            with server.login() as operator:
                assert operator.get("/api/tenants").status_code == 200
        finally:
            os.kill(new, signal.SIGTERM)
            eventually(lambda: not is_running(new))
