"""Requests that Schemathesis makes up from the OpenAPI document, sent to real gunicorn workers:
no 5xx, no answer that is not documented. `make fuzz` runs this for longer."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.server import MULTITENANT_RUN, ROOT, Server
from tests.support import OPERATOR_EMAIL, OPERATOR_PASSWORD, PASSWORD

FOLDER = ROOT / "tests" / "fuzz"
MEMBER = "member@acme.example"
# For how many examples of each operation, and how long `make fuzz` goes on with all phases. Without
# it, each user gets those that find most with them.
EXAMPLES = os.environ.get("FUZZ_EXAMPLES", "3")
SECONDS = os.environ.get("FUZZ_SECONDS")
SEED = "20261121"
"""Of the run in the test suite, which fails for what a change has done, and not by chance."""
PHASES = {
    "anonymous": "coverage",
    "member": "examples,fuzzing",
    "owner": "examples,coverage",
    "operator": "examples,fuzzing,stateful",
}


@pytest.fixture
def served(environment: dict[str, str], tmp_path: Path) -> Iterator[Server]:
    changed = environment | {
        "LOGIN_RATE_LIMIT": "100000 per second",
        "ACCESS_TOKEN_SECONDS": "86400",
        "WORKERS": "1",
    }
    with Server(MULTITENANT_RUN, changed, tmp_path) as server:
        yield server.wait_until_ready()


@pytest.mark.parametrize("who", PHASES)
def test_no_request_gets_a_5xx_or_an_answer_that_is_not_documented(
    served: Server, who: str, tmp_path: Path
) -> None:
    owner = served.add_tenant("Acme")
    with served.login(owner, PASSWORD) as session:
        body = {"email": MEMBER, "password": PASSWORD}
        assert session.post("/api/users", json=body).status_code == 201
    credentials = {
        "member": {"FUZZ_EMAIL": MEMBER, "FUZZ_PASSWORD": PASSWORD},
        "owner": {"FUZZ_EMAIL": owner, "FUZZ_PASSWORD": PASSWORD},
        "operator": {"FUZZ_EMAIL": OPERATOR_EMAIL, "FUZZ_PASSWORD": OPERATOR_PASSWORD},
    }
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli"),
            *("--config-file", FOLDER / "schemathesis.toml", "run"),
            f"{served.url}/openapi.json",
            *("--max-examples", EXAMPLES),
            *(("--max-time", SECONDS) if SECONDS else ("--phases", PHASES[who], "--seed", SEED)),
            *("--warnings", "off", "--no-color"),
        ],
        env={
            **os.environ,
            "SCHEMATHESIS_HOOKS": "tests.fuzz.hooks",
            "PYTHONPATH": str(ROOT),
            "FUZZ_URL": served.url,
            **credentials.get(who, {}),
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr + served.log[-5000:]
    assert '"status":500' not in served.log
