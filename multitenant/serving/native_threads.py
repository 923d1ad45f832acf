"""Work that would hold up every other request of the process.

Under gevent all requests share one thread: whoever computes for long, or waits in code that gevent
does not know, stops the others. Such work goes to a native thread here, and only its own request
waits for it. Without gevent it is simply done.
"""

import sys
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


def under_gevent() -> bool:
    """Whether this process was patched, so that its threads are greenlets."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("threading"))


def in_native_thread(function: Callable[..., Result], *arguments: object) -> Result:
    """Return what the function returns, or raise what it raises."""
    if not under_gevent():
        return function(*arguments)
    import gevent

    result: Result = gevent.get_hub().threadpool.apply(function, arguments)
    return result
