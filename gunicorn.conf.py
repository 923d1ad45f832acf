"""gunicorn's configuration; `multitenant/gunicorn_config.py` says what and why.

Whatever is assigned below the import wins.
"""

from multitenant.gunicorn_config import *  # noqa: F403  # gunicorn reads the names of this module
