"""gunicorn's gevent worker, as it starts."""

import subprocess
import sys

BOOT = """
from gevent import monkey
monkey.patch_all(os=False, signal=False, subprocess=False)  # as gunicorn.conf.py does

import weakref

class Short: pass

short = Short()
dead = weakref.proxy(short)
del short

from multitenant.serving.gevent_worker import GeventWorker

worker = GeventWorker.__new__(GeventWorker)
worker.sockets = []
worker.patch()
for module in ("os", "signal", "subprocess", "threading", "socket", "ssl", "time", "select"):
    assert monkey.is_module_patched(module), module
"""


def test_it_boots_also_when_a_weak_reference_has_just_died() -> None:
    done = subprocess.run([sys.executable, "-c", BOOT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
