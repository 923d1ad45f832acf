"""gunicorn's configuration; `multitenant/serving/gunicorn_config.py` says what and why.

Whatever is assigned below the last import wins.
"""

import os

from dotenv import dotenv_values

try:
    in_file = dotenv_values(".env").get("WORKER_CLASS")
except (OSError, UnicodeDecodeError):
    in_file = None  # said below, with everything else that is wrong

if (os.environ.get("WORKER_CLASS") or in_file) != "gthread":
    from gevent import monkey

    # Before anything imports ssl or PyMongo. The master forks and waits as gunicorn knows it.
    monkey.patch_all(os=False, signal=False, subprocess=False)

from multitenant.serving.gunicorn_config import *  # noqa: F403  # gunicorn reads the names
