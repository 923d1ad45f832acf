"""How much work the tests of faults do: little in the suite, much with `make faults`."""

import os

import pytest

LONG = bool(os.environ.get("FAULTS_SECONDS"))
"""Whether the tests were asked to look for long, `FAULTS_SECONDS` each."""


alike = pytest.mark.skipif(not LONG, reason="much like another one: only in `make faults`")
"""Marks what the suite can do without."""


def seconds(bounded: float) -> float:
    """Return for how many seconds a test may go on: `bounded` in the suite."""
    return float(os.environ["FAULTS_SECONDS"]) if LONG else bounded
