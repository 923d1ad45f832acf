"""Releases of MongoDB that are out of support, or have holes that are known and closed by now.

As of AS_OF. Sources: MongoDB's page "Software Lifecycle Schedules", and for each hole the entry of
that number in the National Vulnerability Database and MongoDB's list of alerts.
"""

from dataclasses import dataclass
from datetime import date

AS_OF = date(2026, 11, 28)

END_OF_SUPPORT = {
    (6, 0): date(2025, 7, 31),
    (7, 0): date(2027, 8, 31),
    (8, 0): date(2029, 10, 31),
}


@dataclass(frozen=True, slots=True)
class Hole:
    """A vulnerability of the server."""

    name: str
    what: str
    fixed_in: dict[tuple[int, int], int]
    """By release series, the first patch without it; a series that is not listed keeps it, if it is
    older than the newest that is."""

    def is_in(self, version: tuple[int, int, int]) -> bool:
        """Whether that version has it."""
        series, patch = version[:2], version[2]
        if series in self.fixed_in:
            return patch < self.fixed_in[series]
        return series < max(self.fixed_in)


HOLES = (
    Hole(
        "CVE-2025-14847",
        "anybody who reaches the server can read its memory, where it takes zlib",
        {(5, 0): 32, (6, 0): 27, (7, 0): 28, (8, 0): 17, (8, 2): 3},
    ),
    Hole(
        "CVE-2026-6914",
        "any of its users can stop the server",
        {(7, 0): 32, (8, 0): 21},
    ),
)


def find_holes(version: tuple[int, int, int]) -> list[Hole]:
    """The holes that this version has."""
    return [hole for hole in HOLES if hole.is_in(version)]


def is_out_of_support(version: tuple[int, int, int], today: date) -> bool:
    """Whether the release series gets no fixes any more. One that is newer than AS_OF does."""
    series = version[:2]
    if series in END_OF_SUPPORT:
        return END_OF_SUPPORT[series] < today
    return series < min(END_OF_SUPPORT)
