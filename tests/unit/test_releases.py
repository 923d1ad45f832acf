"""Which releases of MongoDB `doctor` warns of."""

from datetime import date

import pytest

from multitenant.tenancy.operations.doctor.releases import (
    AS_OF,
    END_OF_SUPPORT,
    find_holes,
    is_out_of_support,
)


@pytest.mark.parametrize(
    ("version", "has_it"),
    [
        ((4, 4, 29), True),
        ((6, 0, 5), True),
        ((6, 0, 26), True),
        ((6, 0, 27), False),
        ((7, 0, 27), True),
        ((7, 0, 28), False),
        ((7, 3, 9), True),
        ((8, 0, 16), True),
        ((8, 0, 17), False),
        ((8, 2, 2), True),
        ((8, 2, 3), False),
        ((9, 0, 0), False),
    ],
)
def test_the_hole_of_zlib_is_in_versions_before_its_fix(
    version: tuple[int, int, int], has_it: bool
) -> None:
    assert ("CVE-2025-14847" in {hole.name for hole in find_holes(version)}) == has_it


def test_support_ends_on_a_day() -> None:
    assert is_out_of_support((6, 0, 27), AS_OF)
    assert not is_out_of_support((8, 0, 21), AS_OF)
    assert is_out_of_support((8, 0, 21), date(2030, 1, 1))
    assert is_out_of_support((5, 0, 32), AS_OF)
    assert not is_out_of_support((9, 0, 0), AS_OF), "newer than the table"
    assert all(end > date(2020, 1, 1) for end in END_OF_SUPPORT.values())
