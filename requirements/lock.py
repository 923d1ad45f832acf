"""Write the lock files: every package with its version and hashes, and no registry's address."""

import subprocess
import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
# Each file, and the extras of pyproject.toml it adds to the dependencies.
FILES = {
    "base.txt": [],
    "run.txt": ["embedded", "build"],
    "dev.txt": ["embedded", "build", "dev"],
    "mutate.txt": ["embedded", "build", "dev", "mutate"],
    "bench.txt": ["embedded", "build", "bench"],
}


BUILD_FILE = "build.txt"
"""What the package is built with, and nothing else: for images."""


def main() -> None:
    """Compile all of them."""
    project = HERE.parent / "pyproject.toml"
    for name, extras in FILES.items():
        _compile(name, [str(project), *(f"--extra={extra}" for extra in extras)])
    build_system = tomllib.loads(project.read_text())["build-system"]
    _compile(BUILD_FILE, ["-"], "\n".join(build_system["requires"]))


def _compile(name: str, source: list[str], text: str | None = None) -> None:
    command = [
        *(sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--universal"),
        *("--python-version", "3.11", "--generate-hashes", "--no-header"),
        *("--no-emit-index-url", "--no-emit-find-links", "--no-annotate"),
        *("--output-file", str(HERE / name)),
        *source,
    ]
    subprocess.run(command, check=True, input=text, text=True)


if __name__ == "__main__":
    main()
