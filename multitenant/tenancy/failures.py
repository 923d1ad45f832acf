"""Work that visits several tenants, or clusters: what fails with one of them ends nothing else.

A tenant's data, server and record may be anything: documents of another shape, answers that are no
answers, credentials that no key opens. So nobody lists here what may be raised.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from pymongo.errors import PyMongoError

from multitenant.errors import BackupError, DecryptionFailed, DomainError
from multitenant.repositories.error_kinds import text_of

logger = logging.getLogger(__name__)

TOLD = (BackupError, DecryptionFailed, DomainError)
"""Their messages are for operators, and say all there is to say."""
EXPECTED = (*TOLD, PyMongoError, OSError)


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
    def text(self) -> str:
        """The text of the error, without documents."""
        return text_of(self.error) if self.error else ""

    @property
    def message(self) -> str:
        """What an operator is told."""
        return self.text if isinstance(self.error, TOLD) else f"{self.name}: {self.text}"


@contextmanager
def contained(what: str) -> Iterator[Failure]:
    """Run the block, which is about one of several. An exception in it ends the block and no more:
    it is logged (`what` is the subject), and the failure that was yielded has it."""
    failure = Failure()
    try:
        yield failure
    except Exception as error:
        failure.error = error
        if isinstance(error, EXPECTED):
            said = error if isinstance(error, TOLD) else failure.name
            logger.warning("%s: %s", what, said)
        else:
            logger.error("%s", what, exc_info=error)
