"""gunicorn as one would configure it for gevent: patched before the application is imported."""

import os

if os.environ.get("WORKER_CLASS") == "gevent":
    from gevent import monkey

    monkey.patch_all()

worker_class = os.environ.get("WORKER_CLASS", "gthread")
workers = 1
worker_connections = 1000
keepalive = 5
loglevel = "warning"
