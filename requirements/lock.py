"""Write the lock files: every package with its version and hashes, and no registry's address."""

import subprocess
import sys
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


def main() -> None:
    """Compile all of them."""
    for name, extras in FILES.items():
        command = [
            *(sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--universal"),
            *("--python-version", "3.11", "--generate-hashes", "--no-header"),
            *("--no-emit-index-url", "--no-emit-find-links", "--no-annotate"),
            *("--output-file", str(HERE / name)),
            str(HERE.parent / "pyproject.toml"),
        ]
        for extra in extras:
            command += ["--extra", extra]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
