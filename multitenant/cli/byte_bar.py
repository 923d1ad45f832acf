"""A progress bar that counts bytes, from whatever threads write them."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import click

from multitenant.tenancy.contents.copying import Progress


@contextmanager
def byte_bar(label: str, total: int) -> Iterator[Progress]:
    """Show a bar on standard error, and yield what to call with the bytes that were done. `total`
    may be an estimate."""
    lock = threading.Lock()

    def megabytes(_: object) -> str:
        return f"{bar.pos / 1e6:.1f} MB"

    with click.progressbar(
        length=max(total, 1), label=label, file=sys.stderr, item_show_func=megabytes
    ) as bar:

        def progress(done: int) -> None:
            with lock:
                bar.update(done, done)

        yield progress
