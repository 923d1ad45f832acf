"""Change the code a little, a thousand times, and see each time whether a test fails.

The mutants of a function are tried with the tests that run the function, and what mypy refuses
need not be tried. What survives and is not explained in equivalent.toml is listed, and is an error.
"""

import argparse
import shutil
import sys
from pathlib import Path

from mutmut.__main__ import cli as mutmut
from mutmut.configuration import config

from tests.mutation.choice import our_choice
from tests.mutation.results import Module, read_module, survivors

MUTANTS = Path("mutants")
COLUMNS = ("mutants", "killed", "by types", "timeout", "explained", "survived")


def main() -> int:
    """Run mutmut; return 1 when a mutant survives that nobody has explained."""
    parser = argparse.ArgumentParser(prog="make mutate", description=__doc__)
    parser.add_argument(
        "modules",
        nargs="*",
        type=Path,
        metavar="MODULE",
        help="a file, e.g. multitenant/security/tokens.py; by default all that"
        " [tool.mutmut] names in pyproject.toml",
    )
    parser.add_argument("--again", action="store_true", help="try only what survived the last time")
    parser.add_argument("--jobs", type=int, default=2, help="how many to try at a time")
    arguments = parser.parse_args()

    if not arguments.again:
        shutil.rmtree(MUTANTS, ignore_errors=True)
    modules = arguments.modules or [
        path
        for pattern in config().only_mutate
        for path in sorted(Path().glob(pattern))
        if path.read_text().strip()
    ]
    config().only_mutate = [str(path) for path in modules]
    config().type_check_command += config().only_mutate
    names = [name for path in modules for name in survivors(path)] if arguments.again else []
    if names or not arguments.again:
        (MUTANTS / "mutmut-stats.json").unlink(missing_ok=True)  # tests have changed
        with our_choice():
            mutmut(["run", f"--max-children={arguments.jobs}", *names], standalone_mode=False)
    return report([read_module(path) for path in modules])


def report(modules: list[Module]) -> int:
    """Print the counts and the survivors; return 1 when there are any."""
    print("\n" + "  ".join(COLUMNS) + "  module")
    for module in modules:
        counts = module.counts
        row = (
            counts.total(),
            counts["killed"] + counts["segfault"],
            counts["caught by type check"],
            counts["timeout"],
            counts["explained"],
            counts["survived"],
        )
        cells = [f"{count:{len(name)}}" for count, name in zip(row, COLUMNS, strict=True)]
        print(*cells, module.path, sep="  ")
    for module in modules:
        for mutant, change in module.survivors.items():
            print(f"\n{mutant}\n- {change.before}\n+ {change.after}")
        for change in module.stale:
            print(f"\n{module.path}: explained, and does not survive")
            print(f"- {change.before}\n+ {change.after}")
    return int(any(module.survivors or module.stale for module in modules))


if __name__ == "__main__":
    sys.exit(main())
