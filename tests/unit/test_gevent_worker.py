"""gunicorn's gevent worker, as it starts, and whom it lets run when."""

import subprocess
import sys

import pytest

PATCHED = """
from gevent import monkey
monkey.patch_all(os=False, signal=False, subprocess=False)  # as gunicorn.conf.py does
from multitenant.serving.gevent_worker import GeventWorker

worker = GeventWorker.__new__(GeventWorker)
worker.sockets = []
"""

BOOT = """
import weakref

class Short: pass

short = Short()
dead = weakref.proxy(short)
del short

worker.patch()
for module in ("os", "signal", "subprocess", "threading", "socket", "ssl", "time", "select"):
    assert monkey.is_module_patched(module), module
"""

NOTIFY = """
import threading, gevent

worker.patch()
ran = []
woken = threading.Condition(threading.Lock())
gevent.spawn(ran.append, "another")
with woken:
    woken.notify()
    assert not ran, "another greenlet ran while the lock was held"
gevent.sleep(0)
assert ran == ["another"]
try:
    woken.notify()
except RuntimeError:
    pass
else:
    raise AssertionError("a Condition that nobody holds can wake nobody")
"""

SERVING = """
import socket
from types import SimpleNamespace
import gevent
from gunicorn.config import Config
from gunicorn.glogging import Logger

served = []

def app(environ, start_response):
    served.append(environ["PATH_INFO"])
    start_response("204 No Content", [("Content-Length", "0")])
    return []

config = Config()
sockets = [SimpleNamespace(FAMILY=socket.AF_INET, sock=socket.create_server(("127.0.0.1", 0)))]
worker = GeventWorker(1, 1, sockets, SimpleNamespace(callable=app), 30, config, Logger(config))
worker.patch()
[listener] = worker.sockets
worker.wsgi, worker.alive, worker.worker_connections = app, True, 10

def connect():
    client, accepted = socket.socketpair()
    return client, gevent.spawn(worker.handle, listener, accepted, ("127.0.0.1", 1))

def ask(client, path, times):
    client.sendall(b"GET %s HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n" % path * times)
    client.shutdown(socket.SHUT_WR)
"""

TWO_CLIENTS = """
one, serving_one = connect()
gevent.sleep(0.05)  # so that it waits for its request
many, serving_many = connect()
ask(many, b"/many", 200)
ask(one, b"/one", 1)
gevent.joinall([serving_one, serving_many], raise_error=True)
assert served.count("/many") == 200 and served.count("/one") == 1, len(served)
assert served.index("/one") < 5, served.index("/one")
"""

CLOSED_LISTENER = """
client, serving = connect()
ask(client, b"/accepted", 1)
listener.close()
serving.join()
assert client.recv(100).startswith(b"HTTP/1.1 204")
assert served == ["/accepted"]
"""

PRIORITY = """
import os, threading
from multitenant.serving.native_threads import NICENESS, NativeThreads

def priority():
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

before = priority()
threads = NativeThreads(1)
assert threads.run(priority) == max(NICENESS, before)
assert threads.run(priority) == max(NICENESS, before)
assert priority() == before, "the thread that answers requests must not become nice"
"""

HASHES = """
import gevent
from multitenant.serving.native_threads import NativeThreads

begun, lock = [], monkey.get_original("_thread", "allocate_lock")()
release = monkey.get_original("_thread", "allocate_lock")()
release.acquire()

def hash_for_long():
    with lock:
        begun.append(1)
    release.acquire()
    release.release()

threads = NativeThreads(12)
hashing = [gevent.spawn(threads.run, hash_for_long) for _ in range(12)]
with gevent.Timeout(30):
    while len(begun) < 12:
        gevent.sleep(0.01)
    import socket
    assert socket.getaddrinfo("localhost", 80)
release.release()
gevent.joinall(hashing, raise_error=True)
"""


def run(script: str) -> None:
    """Run the script in a process of its own, patched as the worker's is."""
    done = subprocess.run(
        [sys.executable, "-c", PATCHED + script], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_it_boots_also_when_a_weak_reference_has_just_died() -> None:
    run(BOOT)


@pytest.mark.slow
def test_waking_somebody_lets_nobody_else_run_while_the_lock_is_held() -> None:
    run(NOTIFY)


@pytest.mark.slow
def test_a_client_whose_requests_are_all_there_does_not_hold_up_another() -> None:
    run(SERVING + TWO_CLIENTS)


def test_a_connection_that_was_accepted_is_served_when_the_worker_listens_no_more() -> None:
    run(SERVING + CLOSED_LISTENER)


@pytest.mark.skipif(sys.platform != "linux", reason="priorities of single threads are Linux's")
def test_hashing_stands_behind_requests_and_they_keep_their_priority() -> None:
    run(PRIORITY)


def test_as_many_hash_at_a_time_as_are_allowed_and_names_are_looked_up_meanwhile() -> None:
    run(HASHES)
