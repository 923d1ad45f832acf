"""Whether the whole server is stopping. gunicorn's master knows; `/readyz` of every worker tells,
so that load balancers send nothing more before the server stops to listen."""

import mmap

_shared = mmap.mmap(-1, 1)
"""One byte of memory that this process shares with those that it forks."""


def announce_stop() -> None:
    """Make is_stopping() true, in this process and in those forked from it."""
    _shared[0] = 1


def is_stopping() -> bool:
    """Whether the server has been told to stop."""
    return _shared[0] == 1
