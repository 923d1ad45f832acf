"""The Postman collection: made from the document, and its story runs, over and over."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.e2e.server import MULTITENANT, ROOT, Server
from tests.support import OPERATOR_EMAIL, OPERATOR_PASSWORD

FOLDER = ROOT / "postman"
FILES = ("multitenant.postman_collection.json", "local.postman_environment.json")


@pytest.fixture(scope="module", autouse=True)
def tools() -> None:
    """Node.js and what `make postman` installs; CI must have them (REQUIRE_ALL_TOOLS)."""
    if not shutil.which("node") or not (FOLDER / "node_modules").exists():
        if os.environ.get("REQUIRE_ALL_TOOLS"):
            pytest.fail("no Node.js, or `make postman` has not been run")
        pytest.skip("no Node.js, or `make postman` has not been run")


def run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_collection_and_the_environment_are_up_to_date(tmp_path: Path) -> None:
    run(*MULTITENANT, "openapi", "--output", tmp_path / "openapi.json")
    run("node", FOLDER / "generate.mjs", tmp_path / "openapi.json", tmp_path)
    for name in FILES:
        made, kept = ((folder / name).read_text() for folder in (tmp_path, FOLDER))
        assert made == kept, f"{name} is out of date: run `make postman`"


def test_its_story_runs_twice_and_leaves_nothing(served: Server) -> None:
    with served.login() as operator:
        before = operator.get("/api/tenants").json()["responseObject"]
        for _ in range(2):
            run(
                *(FOLDER / "node_modules" / ".bin" / "newman", "run", FOLDER / FILES[0]),
                *("--environment", FOLDER / FILES[1], "--folder", "Story", "--color", "off"),
                *("--env-var", f"baseUrl={served.url}"),
                *("--env-var", f"operatorEmail={OPERATOR_EMAIL}"),
                *("--env-var", f"operatorPassword={OPERATOR_PASSWORD}"),
            )
        assert operator.get("/api/tenants").json()["responseObject"] == before
