"""What became of the mutants, and which survivors are explained."""

import tomllib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from mutmut.mutation.data import SourceFileMutationData
from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.stats import status_by_exit_code

EXPLAINED = Path(__file__).parent / "equivalent.toml"
KILLED = ("killed", "timeout", "caught by type check", "segfault")
NOT_TRIED = 255
"""What a worker ends with that could not run the tests; mutmut takes it for a timeout."""


@dataclass(frozen=True)
class Change:
    """What a mutant changed: the lines before and after, without indentation."""

    before: str
    after: str

    @classmethod
    def of(cls, mutant: str, path: Path) -> "Change":
        """Read it from the mutant's diff."""
        lines = get_diff_for_mutant(mutant, path=path).splitlines()[2:]
        return cls(
            *(
                " ".join(line[1:].strip() for line in lines if line.startswith(sign))
                for sign in "-+"
            )
        )


@dataclass
class Module:
    """One module's mutants."""

    path: Path
    counts: Counter[str] = field(default_factory=Counter)
    survivors: dict[str, Change] = field(default_factory=dict)
    """Those that no reason was given for."""
    stale: list[Change] = field(default_factory=list)
    """Reasons that were given for mutants that do not survive."""


def read_module(path: Path) -> Module:
    """Read what mutmut has noted of the module's mutants."""
    data, module = SourceFileMutationData(path=path), Module(path)
    data.load()
    reasons = tomllib.loads(EXPLAINED.read_text()).get(str(path), [])
    explained = {Change(reason["before"], reason["after"]) for reason in reasons}
    seen = set()
    for mutant, exit_code in data.exit_code_by_key.items():
        status = _status(exit_code)
        if status not in KILLED:
            change = Change.of(mutant, path)
            seen.add(change)
            if change in explained:
                status = "explained"
            else:
                module.survivors[f"{mutant} ({status})"] = change
                status = "survived"
        module.counts[status] += 1
    module.stale = sorted(explained - seen, key=str)
    return module


def survivors(path: Path) -> list[str]:
    """The names of the module's mutants that are alive, explained or not."""
    data = SourceFileMutationData(path=path)
    data.load()
    return [
        mutant
        for mutant, exit_code in data.exit_code_by_key.items()
        if _status(exit_code) not in KILLED
    ]


def _status(exit_code: int | None) -> str:
    return "not tried" if exit_code == NOT_TRIED else status_by_exit_code[exit_code]
