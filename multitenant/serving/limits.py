"""What a client may hold of a worker, whichever class the worker has."""

READ_SECONDS = 10.0
"""How long a request may take to arrive."""
WRITE_SECONDS = 30.0
"""How long an answer may take to be fetched."""
LINGER_SECONDS = 2.0
"""How long to wait, after the answer, for the client to end its side of the connection."""
MAX_DRAINED_BYTES = 65536
"""How much of what it still sends meanwhile is read and dropped."""
STOP_SECONDS = 2.0
"""How long a stopping worker keeps its idle connections open, for a request that may be on its way
(as gunicorn's threaded worker does)."""
