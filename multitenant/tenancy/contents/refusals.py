"""What MongoDB says against writing a copy, without its own text, which may hold documents."""

from collections.abc import Iterator
from contextlib import contextmanager

from pymongo.errors import OperationFailure

from multitenant.errors import BackupError
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
