"""Password hashing with bcrypt, in bounded parallel."""

import re
import secrets
import threading
from collections.abc import Callable, Hashable
from typing import Any

import bcrypt

from multitenant.config import MAX_BCRYPT_ROUNDS
from multitenant.security.fair_queue import FairQueue

WAIT_SECONDS = 5.0
"""How long a caller waits for its turn; then it is refused, and may ask again."""
PLATFORM = "platform"
"""The group of callers that work for no tenant."""
NO_TENANT = "nobody"
"""The group of logins of emails that nobody has."""
BCRYPT_HASH = re.compile(r"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}")


class PasswordHasher:
    """Hashes and verifies passwords, at most `parallel` at a time.

    A hash takes a core for a quarter of a second or so. At most `waiting` callers may hash or
    queue to hash at once, so that logins never occupy every thread of a worker. Each caller names
    the tenant for which it asks: tenants have equal shares (see fair_queue.py). All methods raise
    RateLimited when there is no place, and DatabaseUnavailable when their turn does not come
    within WAIT_SECONDS.
    """

    def __init__(
        self,
        *,
        rounds: int,
        parallel: int,
        waiting: int,
        run: Callable[..., Any] = lambda function, *arguments: function(*arguments),
    ) -> None:
        """`rounds` is bcrypt's cost: one more doubles the time. `run` calls bcrypt, on a thread
        that nobody else needs."""
        self._run = run
        self._rounds = rounds
        self._places = threading.BoundedSemaphore(max(parallel, waiting))
        self._queue = FairQueue(parallel=parallel, places=self._places, seconds=WAIT_SECONDS)
        self._nobodys = bcrypt.hashpw(secrets.token_bytes(16).hex().encode(), self._salt()).decode()

    def hash(self, password: str, tenant: Hashable = PLATFORM) -> str:
        """Return the hash of a password of at most 72 bytes."""
        with self._queue.turn(tenant):
            hashed: bytes = self._run(bcrypt.hashpw, password.encode(), self._salt())
            return hashed.decode()

    def verify(self, password: str, hashed: str | None, tenant: Hashable = PLATFORM) -> bool:
        """Whether the password has that hash.

        No hash (there is no such user) takes the same time and is False; so is a damaged hash
        or a password that bcrypt cannot take.
        """
        with self._queue.turn(tenant):
            usable = hashed if hashed and self._is_usable(hashed) else None
            try:
                fits = self._run(self._check, password.encode(), usable or self._nobodys)
            except ValueError:
                return False
        return bool(fits) and usable is not None

    def _check(self, password: bytes, hashed: str) -> bool:
        """Whether the password fits, in the time that a hash of ours takes, also where this one is
        of a time when hashes were cheaper: else that would tell it from nobody's."""
        fits = bcrypt.checkpw(password, hashed.encode())
        match = BCRYPT_HASH.fullmatch(hashed)
        assert match is not None
        for rounds in range(int(match[1]), self._rounds):  # 2^r + 2^r + 2^(r+1) + … = 2^rounds
            bcrypt.hashpw(password, bcrypt.gensalt(rounds))
        return fits

    def _is_usable(self, hashed: str) -> bool:
        """Whether it is a hash of a cost that BCRYPT_ROUNDS may have been: whoever owns a tenant's
        database may have written one that takes days."""
        match = BCRYPT_HASH.fullmatch(hashed)
        return match is not None and int(match[1]) <= MAX_BCRYPT_ROUNDS

    def _salt(self) -> bytes:
        return bcrypt.gensalt(self._rounds)
