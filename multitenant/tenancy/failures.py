"""Work that visits several tenants, or clusters: what fails with one of them ends nothing else.

A tenant's data, server and record may be anything: documents of another shape, answers that are no
answers, credentials that no key opens. So nobody lists here what may be raised.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from multitenant.repositories.error_kinds import is_expected
from multitenant.repositories.error_texts import TOLD, describe, explain

logger = logging.getLogger(__name__)


class Failure:
    """What has gone wrong in a contained() block, if anything has."""

    error: Exception | None = None

    def __bool__(self) -> bool:
        return self.error is not None

    @property
    def name(self) -> str:
        """The kind of the error, without its text, which may hold a document."""
        return type(self.error).__name__

    @property
    def message(self) -> str:
        """What an operator is told."""
        return explain(self.error) if self.error else ""


@contextmanager
def contained(what: str) -> Iterator[Failure]:
    """Run the block, which is about one of several. An exception in it ends the block and no more:
    it is logged (`what` is the subject), and the failure that was yielded has it."""
    failure = Failure()
    try:
        yield failure
    except Exception as error:
        failure.error = error
        if is_expected(error):
            said = error if isinstance(error, TOLD) else describe(error)
            logger.warning("%s: %s", what, said)
        else:
            logger.error("%s", what, exc_info=error)
