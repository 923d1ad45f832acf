"""The README's curl session, run line by line as it stands there."""

import re
import shutil
import subprocess
from pathlib import Path

from tests.e2e.server import MULTITENANT_RUN, ROOT, Server, free_port

SEPARATOR = "-- end of output --"


def session() -> list[tuple[str, str]]:
    """The commands of the README's console blocks, each with the output that it shows."""
    steps: list[tuple[str, str]] = []
    for block in re.findall(r"```console\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                steps.append((line[2:], ""))
            else:
                command, output = steps[-1]
                steps[-1] = (command, output + line)
    return steps


def alike(output: str) -> str:
    """The output without what differs from run to run."""
    output = re.sub(r'"requestId":"[0-9a-f]{32}"', '"requestId":"…"', output)
    output = re.sub(r"[0-9a-f]{24}", "<id>", output)
    return re.sub(r"(?!2030-01-31)\d{4}-\d\d-\d\dT[0-9:.]+Z", "<time>", output)


def test_the_session_in_the_readme_is_what_happens(tmp_path: Path) -> None:
    shutil.copy(ROOT / ".env", tmp_path / ".env")
    port = str(free_port())
    steps = [(c.replace("5000", port), output.replace("5000", port)) for c, output in session()]
    assert len(steps) > 12
    script = "\n".join(f"{command}\necho; echo '{SEPARATOR}'" for command, _ in steps)

    with Server(MULTITENANT_RUN, {"PORT": port, "WORKERS": "2"}, tmp_path) as server:
        server.wait_until_ready()
        done = subprocess.run(
            ["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=120
        )

    outputs = [output.strip() for output in done.stdout.split(SEPARATOR)][: len(steps)]
    assert done.stderr == ""
    for (command, shown), output in zip(steps, outputs, strict=True):
        assert alike(output) == alike(shown), command
