"""Making all checks, each in bounded time, whatever the others found."""

import logging
import threading
import time
from collections.abc import Generator, Iterable, Iterator
from contextvars import copy_context
from dataclasses import replace

import pymongo
from pymongo.errors import OperationFailure, PyMongoError

from multitenant.errors import DomainError
from multitenant.repositories.admin.clusters import list_clusters
from multitenant.repositories.error_codes import UNAUTHORIZED
from multitenant.repositories.error_kinds import is_expected
from multitenant.repositories.error_texts import explain
from multitenant.tenancy.deployments.clusters import DEFAULT_CLUSTER
from multitenant.tenancy.failures import contained
from multitenant.tenancy.operations.doctor.subject import Subject
from multitenant.tenancy.operations.doctor.table import (
    OF_ADMIN_DATABASE,
    OF_CLUSTER,
    OF_DEPLOYMENT,
    OF_SETTINGS,
)
from multitenant.tenancy.operations.doctor.verdict import (
    Check,
    Finding,
    Level,
    Verdict,
    bad,
    unknown,
)
from multitenant.tenancy.operations.doctor.words import GRANT

logger = logging.getLogger(__name__)

CHECK_SECONDS = 5.0
"""What one check may take, but those that take long."""
GRACE_SECONDS = 1.0
"""PyMongo keeps time itself, and gets a moment to tell what it was waiting for."""


class Doctor:
    """Examines a platform once."""

    def __init__(self, subject: Subject, *, seconds: float) -> None:
        """All checks together take `seconds` at most."""
        self._subject = subject
        self._deadline = time.monotonic() + seconds
        self._levels: dict[tuple[str, str | None], Level] = {}

    def examine(self) -> Generator[Finding, None, None]:
        """Make all checks, and tell of each as it is done. Closing it tidies up."""
        yield from self._make(OF_SETTINGS, None)
        yield from self._make(OF_DEPLOYMENT, DEFAULT_CLUSTER)
        yield from self._make(OF_ADMIN_DATABASE, None)
        clusters = self._clusters()
        for cluster in clusters:
            if cluster != DEFAULT_CLUSTER:
                yield from self._make(OF_DEPLOYMENT, cluster)
        for cluster in clusters:
            yield from self._make(OF_CLUSTER, cluster)

    def _clusters(self) -> list[str]:
        """Those that tenants may live on; where the admin database does not tell, its own."""
        try:
            with pymongo.timeout(CHECK_SECONDS):
                records = list_clusters(self._subject.admin_db)
        except (PyMongoError, DomainError):
            return [DEFAULT_CLUSTER]
        others = {record["_id"] for record in records if record["state"] != "closed"}
        return [DEFAULT_CLUSTER, *sorted(others - {DEFAULT_CLUSTER})]

    def _make(self, checks: Iterable[Check], cluster: str | None) -> Iterator[Finding]:
        subject = replace(self._subject, cluster=cluster or DEFAULT_CLUSTER)
        try:
            for check in checks:
                verdict = self._verdict(check, subject, cluster)
                self._levels[check.name, cluster] = verdict.level
                yield Finding(check.name, cluster, verdict)
        finally:
            _clean_up(subject)

    def _verdict(self, check: Check, subject: Subject, cluster: str | None) -> Verdict:
        if lacking := [need for need in check.needs if not self._is_met(need, cluster)]:
            return unknown(f"needs what failed: {', '.join(lacking)}")
        left = self._deadline - time.monotonic()
        if left <= 0:
            return unknown("there was no time left for it", "give it more by --timeout")
        return _bounded(check, subject, left if check.takes_long else min(left, CHECK_SECONDS))

    def _is_met(self, need: str, cluster: str | None) -> bool:
        """Whether the check was not passed by: of this cluster, of the platform, or of the cluster
        of the admin database."""
        for where in (cluster, None, DEFAULT_CLUSTER):
            if (need, where) in self._levels:
                return self._levels[need, where] in (Level.OK, Level.WARNING)
        return False


def not_examined(why: str) -> Iterator[Finding]:
    """The findings where there is nothing to examine."""
    for checks, cluster in (
        (OF_SETTINGS[1:], None),
        (OF_DEPLOYMENT, DEFAULT_CLUSTER),
        (OF_ADMIN_DATABASE, None),
        (OF_CLUSTER, DEFAULT_CLUSTER),
    ):
        for check in checks:
            yield Finding(check.name, cluster, unknown(why))


def _bounded(check: Check, subject: Subject, seconds: float) -> Verdict:
    """Make the check in a thread, which is left behind when it hangs where PyMongo does not keep
    time: looking up a name, say."""
    made: list[Verdict] = []

    def make() -> None:
        made.append(_make(check, subject, seconds))

    thread = threading.Thread(
        target=copy_context().run, args=(make,), name=f"doctor: {check.name}", daemon=True
    )
    thread.start()
    thread.join(seconds + GRACE_SECONDS)
    if not made:
        return bad(f"no answer within {seconds:.0f} s", "see what it waits for; run it again")
    return made[0]


def _make(check: Check, subject: Subject, seconds: float) -> Verdict:
    try:
        with pymongo.timeout(seconds):
            return check.examine(subject)
    except OperationFailure as error:
        if error.code == UNAUTHORIZED and check.essential:
            return bad(
                f"the user of {subject.uri_setting} may not do what this takes: {explain(error)}",
                GRANT.format(subject.uri_setting),
            )
        if error.code == UNAUTHORIZED:
            return unknown(
                "MongoDB does not tell the user of " + subject.uri_setting,
                "grant that user the role clusterMonitor, or do without",
            )
        return bad(explain(error), "this is MongoDB's own message; its log has more")
    except Exception as error:  # a check that is wrong must not keep the others
        if is_expected(error):
            return bad(explain(error), "see whether MongoDB works well, and run it again")
        logger.exception("The check %s is wrong", check.name)
        return unknown(f"the check itself has failed: {type(error).__name__}")


def _clean_up(subject: Subject) -> None:
    left = f"{subject.scratch.db.name} is left over; `multitenant tenants gc` drops it"
    with contained(left), pymongo.timeout(CHECK_SECONDS):
        subject.close()
