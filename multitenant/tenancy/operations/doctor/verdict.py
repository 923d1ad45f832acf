"""What a check is, and what it can say."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from multitenant.tenancy.operations.doctor.subject import Subject


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"
    NOT_CHECKED = "not checked"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check has found, and how to mend it."""

    level: Level
    found: str
    mend: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing to look at; `examine` may raise what PyMongo and the domain raise."""

    name: str
    examine: Callable[[Subject], Verdict]
    needs: tuple[str, ...] = ()
    """The checks without which this one cannot be made."""
    takes_long: bool = False
    """Whether it may take all the time that is left, and not only its share."""
    essential: bool = False
    """Whether the platform does the same itself, so that it fails where this is not allowed."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The verdict of one check, on a cluster or on the platform (None)."""

    check: str
    cluster: str | None
    verdict: Verdict


def good(found: str) -> Verdict:
    """It is as it should be."""
    return Verdict(Level.OK, found)


def poor(found: str, mend: str) -> Verdict:
    """It works, and should be otherwise."""
    return Verdict(Level.WARNING, found, mend)


def bad(found: str, mend: str) -> Verdict:
    """It does not work."""
    return Verdict(Level.FAILURE, found, mend)


def unknown(why: str, mend: str = "") -> Verdict:
    """It could not be found out."""
    return Verdict(Level.NOT_CHECKED, why, mend)
