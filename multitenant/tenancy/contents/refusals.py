"""What MongoDB says against writing a copy, without its own text, which may hold documents."""

from collections.abc import Iterator
from contextlib import contextmanager

from pymongo.errors import BulkWriteError, OperationFailure, WriteConcernError

from multitenant.errors import BackupError
from multitenant.repositories.error_codes import DUPLICATE_KEY
from multitenant.repositories.error_kinds import unconfirmed, write_errors
from multitenant.repositories.error_texts import list_codes
from multitenant.repositories.retries import is_passing


@contextmanager
def explained(name: str, refusal: str) -> Iterator[None]:
    """Raise BackupError where MongoDB answers with an error in the block, in which the collection
    `name` is written: with `refusal` and the codes where its data, or its shape, is the reason."""
    try:
        yield
    except OperationFailure as error:
        codes = list_codes(error) or "without a code"
        if is_passing(error):
            refusal = f"{name!r} cannot be written at the moment; try again later"
        raise BackupError(f"{refusal} (error {codes})") from None


def refused_by_unique_index(error: BulkWriteError) -> list[int]:
    """Return which of several writes a unique index has refused, when all others were done. Raises
    the error where anything else was refused, and WriteConcernError where no majority has confirmed
    the others."""
    refused = write_errors(error)
    if any(one["code"] != DUPLICATE_KEY for one in refused):
        raise error
    for one in unconfirmed(error):
        raise WriteConcernError(one["errmsg"], one["code"], one) from error
    return [one["index"] for one in refused]
