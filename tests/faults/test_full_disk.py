"""A disk without room for MongoDB's data: who writes is asked to come again, nothing that was
acknowledged is lost, nothing is half done, and with room again everything is as before."""

import contextlib
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from multitenant.repositories.error_codes import OUT_OF_DISK_SPACE
from multitenant.repositories.model import utc_now
from tests.conftest import leakless_worlds, own_environment
from tests.e2e.server import MULTITENANT_RUN, Server
from tests.failpoints import failing
from tests.faults.budget import LONG
from tests.faults.full_disk import Disk, LimitedFiles, SmallFileSystem, mounted
from tests.integration.test_garbage import find as find_garbage
from tests.support import PASSWORD, User, World, eventually, refusal

pytestmark = pytest.mark.slow

Client = MongoClient[dict[str, Any]]
PATIENCE = 60
KINDS = ["small file system", "limited files"] if LONG else ["whichever"]


@pytest.fixture(params=KINDS)
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    """A disk that can be filled, and a mongod on it. In the suite it is a file system where one may
    be mounted, and a limit to files elsewhere."""
    with ExitStack() as ends:
        place = ends.enter_context(mounted(tmp_path))
        if place is None and request.param == "small file system":
            pytest.skip("no file system may be mounted here")
        limited = place is None or request.param == "limited files"
        disk: Disk = LimitedFiles(tmp_path) if limited else SmallFileSystem(place or tmp_path)
        ends.enter_context(disk.server)
        yield disk


def asked(client: httpx.Client, method: str, path: str, body: Any = None) -> int:
    """Send a request; the answer must be a good one, or 503 and say when to come again."""
    answered = client.request(method, path, json=body, timeout=PATIENCE)
    if answered.status_code == 503:
        assert answered.json()["responseObject"]["code"] == "database_unavailable"
        assert int(answered.headers["Retry-After"]) > 0
    else:
        assert answered.status_code in (200, 201), answered.text
    return answered.status_code


def test_without_room_writes_are_refused_nothing_is_lost_and_all_recovers(
    disk: Disk, tmp_path: Path
) -> None:
    with (
        Client(disk.server.uri, serverMonitoringMode="poll", timeoutMS=5_000) as mongo,
        own_environment(disk.server, mongo, tmp_path) as environment,
    ):
        changed = environment | {
            "WORKERS": "1",
            "WORKER_CLASS": "gevent",
            "OPERATION_TIMEOUT_MS": "2000",
        }
        with (
            Server(MULTITENANT_RUN, changed, tmp_path / "server") as server,
            ExitStack() as clients,
        ):
            server.wait_until_ready()
            owner = clients.enter_context(server.login(server.add_tenant("Acme"), PASSWORD))
            operator = clients.enter_context(server.login())
            globex = {"name": "Globex", "email": "owner@globex.example", "password": PASSWORD}
            titles = []

            def write(number: int) -> bool:
                title = f"Item {number}"
                if asked(owner, "POST", "/api/to-do-list", {"title": title}) != 201:
                    return False
                titles.append(title)
                return True

            assert write(0)
            disk.fill()
            assert asked(operator, "POST", "/api/add", globex) == 503, "it needs files of its own"
            for number in range(1, 4):
                write(number)
            reads = asked(owner, "GET", "/api/to-do-list")
            if disk.goes_on:
                assert reads == 200
                assert titles == [f"Item {number}" for number in range(4)], "the journal has room"
            _make_it_write_everything(mongo)
            write(4)

            disk.make_room()
            disk.server.stop()  # it has ended itself, on most disks
            disk.server.start()
            eventually(lambda: write(5))
            listed = owner.get("/api/to-do-list?limit=100").json()["responseObject"]["items"]
            found = [item["title"] for item in listed]
            assert [title for title in titles if title not in found] == []
            # Nothing is left of the tenant that could not be added.
            assert asked(operator, "POST", "/api/add", globex) == 201
            assert '"status":500' not in server.log
            assert "Unexpected" not in server.log
        _collect_garbage(environment)


def _make_it_write_everything(mongo: Client) -> None:
    """A checkpoint, which comes once a minute by itself; mongod ends when it cannot make it."""
    with contextlib.suppress(PyMongoError):
        mongo.admin.command("fsync")


def _collect_garbage(environment: dict[str, str]) -> None:
    """What a failed attempt could not remove, since that needed room, too, is noted."""
    with leakless_worlds(environment) as make:
        world = make()
        long_ago = {"$set": {"startedAt": utc_now() - timedelta(days=1)}}
        world.admin_db["provisionings"].update_many({}, long_ago)
        assert all(garbage.remove() for garbage in find_garbage(world))


@pytest.fixture
def acme(world: World) -> User:
    return world.tenant("Acme")


def test_a_server_that_says_that_it_has_no_room_is_unavailable_for_writing(
    world: World, acme: User, mongo: Client
) -> None:
    commands = ("insert", "create", "createIndexes")
    with failing(mongo, "alwaysOn", *commands, errorCode=OUT_OF_DISK_SPACE):
        response = acme.post("/api/to-do-list", {"title": "x"})
        refusal(response, 503, "database_unavailable")
        assert response.headers["Retry-After"]
        assert acme.get("/api/to-do-list").status_code == 200
        added = world.add(name="Globex", email="owner@globex.example", password=PASSWORD)
        refusal(added, 503, "database_unavailable")
    assert acme.post("/api/to-do-list", {"title": "x"}).status_code == 201
    assert world.add(name="Globex", email="owner@globex.example").status_code == 201
