"""Whether the whole server is stopping. gunicorn's master knows; `/readyz` of every worker tells,
so that load balancers send nothing more before the server stops to listen."""

import mmap

_shared = mmap.mmap(-1, 1)
"""One byte of memory that this process shares with those that it forks."""
_STOPS, _CLOSES = 1, 2


def announce_stop(*, closes: bool) -> None:
    """Make is_stopping() true, in this process and in those forked from it; `closes` says whether
    the listening sockets end with the server (those of systemd do not)."""
    _shared[0] = _CLOSES if closes else _STOPS


def is_stopping() -> bool:
    """Whether the server has been told to stop."""
    return _shared[0] != 0


def closes_listeners() -> bool:
    """Whether it has, and nobody will listen on its sockets afterwards."""
    return _shared[0] == _CLOSES
