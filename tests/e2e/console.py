"""Console sessions that stand in documents, run as they stand there."""

import re
import subprocess
from pathlib import Path

SEPARATOR = "-- end of output --"


def session(document: str) -> list[tuple[str, str]]:
    """The commands of its console blocks, each with the output that it shows."""
    steps: list[tuple[str, str]] = []
    for block in re.findall(r"```console\n(.*?)```", document, re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                steps.append((line[2:], ""))
            else:
                command, output = steps[-1]
                steps[-1] = (command, output + line)
    return steps


def perform(steps: list[tuple[str, str]], directory: Path) -> None:
    """Run the commands in one shell and compare what they put out with what is shown."""
    script = "\n".join(f"{command}\necho; echo '{SEPARATOR}'" for command, _ in steps)
    done = subprocess.run(
        ["bash", "-c", script], cwd=directory, capture_output=True, text=True, timeout=120
    )
    outputs = [output.strip() for output in done.stdout.split(SEPARATOR)][: len(steps)]
    assert done.stderr == ""
    for (command, shown), output in zip(steps, outputs, strict=True):
        assert _alike(output) == _alike(shown), command


def _alike(output: str) -> str:
    """The output without what differs from run to run."""
    output = re.sub(r'"requestId":"[0-9a-f]{32}"', '"requestId":"…"', output)
    output = re.sub(r"[0-9a-f]{24}", "<id>", output)
    return re.sub(r"(?!2030-01-31)\d{4}-\d\d-\d\dT[0-9:.]+Z", "<time>", output)
