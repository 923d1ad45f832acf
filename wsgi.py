"""The application, for any WSGI server: `gunicorn -c gunicorn.conf.py wsgi:app`.

`flask --app wsgi run` serves it for development, and then ends cleanly on a signal.
"""

from multitenant import create_app
from multitenant.lifecycle import shut_down_on_signals

app = create_app()
shut_down_on_signals(app)
