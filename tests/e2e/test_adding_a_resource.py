"""docs/adding-a-resource.md, performed as it stands there on a copy of the project."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.e2e.console import perform, session
from tests.e2e.server import MULTITENANT_RUN, ROOT, Server, free_port

DOCUMENT = (ROOT / "docs" / "adding-a-resource.md").read_text()
# A block, and the file that the text before it, or before the blocks before it, names last.
BLOCK = re.compile(r"```(python|diff)\n(.*?)```\n", re.DOTALL)
FILE = re.compile(r"`([a-z_/]+/[A-Za-z_]+\.py)`")
LEFT_OUT = (
    *(".git", ".venv", "instance", "node_modules", "__pycache__"),
    *(".pytest_cache", ".ruff_cache"),
)


def blocks() -> list[tuple[str, str, str]]:
    """The kind, the file and the text of each block of code, in order."""
    return [
        (found[1], FILE.findall(DOCUMENT[: found.start()])[-1], found[2])
        for found in BLOCK.finditer(DOCUMENT)
    ]


def write(project: Path, kind: str, file: str, text: str) -> None:
    """Do with the file what a reader does."""
    path = project / file
    if "NNNN" in file:
        last = max(int(found.name[1:5]) for found in path.parent.glob("m0*.py"))
        path = path.with_name(path.name.replace("NNNN", f"{last + 1:04}"))
    if kind == "python":
        assert not path.exists(), f"{file} is there already"
        path.write_text(text)
        return
    old = "".join(f"{line[1:]}\n" for line in text.splitlines() if line[0] in " -")
    new = "".join(f"{line[1:]}\n" for line in text.splitlines() if line[0] in " +")
    assert path.read_text().count(old) == 1, f"{file} has changed; so must the document"
    path.write_text(path.read_text().replace(old, new))


def run(command: str, project: Path) -> None:
    """Run a command of the document, with no more than a contributor's shell has."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=project,
        env={**kept, "JOBS": "0"},  # no processes beside the one
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout


def test_the_walk_leads_to_where_it_says(tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(ROOT, project, ignore=shutil.ignore_patterns(*LEFT_OUT))
    (project / ".venv").symlink_to(sys.prefix)

    for kind, file, text in blocks():
        write(project, kind, file, text)
    for commands in re.findall(r"```sh\n(.*?)```", DOCUMENT, re.DOTALL):
        for command in commands.splitlines():
            run(command, project)

    port = str(free_port())
    environment = {"PORT": port, "WORKERS": "1", "PYTHONPATH": str(project)}
    with Server(MULTITENANT_RUN, environment, project) as server:
        server.wait_until_ready()
        perform(session(DOCUMENT.replace("5000", port)), project)
