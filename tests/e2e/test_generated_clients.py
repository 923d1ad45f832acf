"""The OpenAPI document as others see it: two validators, and three clients that are generated from
the served document, compiled, and run against the server."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import plain_http
from tests.e2e.server import ROOT, Server
from tests.support import OPERATOR_EMAIL, OPERATOR_PASSWORD

pytestmark = pytest.mark.slow

FOLDER = ROOT / "tests" / "generated_clients"
TOOLS = FOLDER / "node_modules" / ".bin"
BIN = Path(sys.executable).parent
NEEDS = "no Node.js, or `make tests/generated_clients/node_modules` has not been run"


@pytest.fixture(scope="module")
def node() -> None:
    """Node.js and the tools of package.json; CI must have them (REQUIRE_ALL_TOOLS)."""
    if not shutil.which("node") or not TOOLS.exists():
        if os.environ.get("REQUIRE_ALL_TOOLS"):
            pytest.fail(NEEDS)
        pytest.skip(NEEDS)


@pytest.fixture
def workshop(shared_server: Server, tmp_path: Path) -> Path:
    """A folder with the served document and the stories."""
    folder = tmp_path / "workshop"
    shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns("node_modules"))
    (folder / "node_modules").symlink_to(FOLDER / "node_modules")
    document = plain_http.get(f"{shared_server.url}/openapi.json", timeout=60)
    (folder / "openapi.json").write_bytes(document.content)
    return folder


def run(folder: Path, *command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=600)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


def compile_story(folder: Path, story: str) -> None:
    """Compile a story and what it imports, with the settings of tsconfig.json."""
    settings = {"extends": "./tsconfig.json", "files": [story]}
    (folder / "story.json").write_text(json.dumps(settings))
    run(folder, TOOLS / "tsc", "--project", "story.json")


def told(server: Server, tenant: str) -> tuple[str, ...]:
    """What a story is told: where, as which operator, and what its tenant is called."""
    return (server.url, OPERATOR_EMAIL, OPERATOR_PASSWORD, tenant)


def test_both_validators_find_nothing(node: None, workshop: Path) -> None:
    run(workshop, BIN / "openapi-spec-validator", "openapi.json")
    run(workshop, TOOLS / "spectral", "lint", "--fail-severity", "hint", "openapi.json")


def test_a_python_client(shared_server: Server, workshop: Path) -> None:
    (workshop / "config.yaml").write_text("post_hooks: []\n")
    run(
        workshop,
        *(BIN / "openapi-python-client", "generate", "--path", "openapi.json", "--meta", "none"),
        *("--output-path", "generated_api", "--config", "config.yaml", "--fail-on-warning"),
    )
    follow = ("--follow-imports", "silent")  # the story is ours, what is generated is not
    run(workshop, BIN / "mypy", "--strict", *follow, "python_story.py")
    run(workshop, sys.executable, "python_story.py", *told(shared_server, "Python"))


def test_a_typescript_client_of_openapi_typescript(
    node: None, shared_server: Server, workshop: Path
) -> None:
    run(workshop, TOOLS / "openapi-typescript", "openapi.json", "--output", "schema.ts")
    compile_story(workshop, "openapi_fetch.ts")
    run(workshop, "node", "openapi_fetch.js", *told(shared_server, "Fetch"))


def test_a_typescript_client_of_hey_api(node: None, shared_server: Server, workshop: Path) -> None:
    run(workshop, TOOLS / "openapi-ts", "--input", "openapi.json", "--output", "hey")
    compile_story(workshop, "hey_api.ts")
    run(workshop, "node", "hey_api.js", *told(shared_server, "Hey"))
