"""What is left of several writes when something went wrong with some."""

from typing import Any

import pytest
from pymongo.errors import BulkWriteError, WriteConcernError

from multitenant.repositories.retries import is_passing
from multitenant.tenancy.contents.refusals import refused_by_unique_index

TAKEN = {"index": 3, "code": 11000, "errmsg": "taken"}
REFUSED = {"index": 5, "code": 121, "errmsg": "not valid"}
UNCONFIRMED = {"code": 64, "errmsg": "waiting for replication timed out"}


def error(write_errors: list[Any], *unconfirmed: Any) -> BulkWriteError:
    return BulkWriteError({"writeErrors": write_errors, "writeConcernErrors": list(unconfirmed)})


def test_what_a_unique_index_refuses_is_told() -> None:
    assert refused_by_unique_index(error([TAKEN, {**TAKEN, "index": 7}])) == [3, 7]


@pytest.mark.parametrize("unconfirmed", [(), (UNCONFIRMED,)])
def test_what_anything_else_refuses_is_an_error(unconfirmed: Any) -> None:
    with pytest.raises(BulkWriteError) as raised:
        refused_by_unique_index(error([TAKEN, REFUSED], *unconfirmed))
    assert not is_passing(raised.value)


@pytest.mark.parametrize("refused", [[], [TAKEN]])
def test_what_is_not_confirmed_passes_whatever_else_was_refused(refused: list[Any]) -> None:
    """It was taken for a document that is refused, where a unique index had refused another."""
    with pytest.raises(WriteConcernError) as raised:
        refused_by_unique_index(error(refused, UNCONFIRMED))
    assert raised.value.code == 64
    assert is_passing(raised.value)
