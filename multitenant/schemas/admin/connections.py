"""What a process has open to MongoDB, as it is answered."""

from multitenant.schemas.payload import Answer, Id


class CacheAnswer(Answer):
    """The tenants at hand, and what became of look-ups since the process started."""

    size: int
    capacity: int
    hits: int
    misses: int
    rechecks: int
    evictions: int


class SocketsAnswer(Answer):
    """`open` is `pooled` and `monitoring` together; `limit` is the most there may be."""

    budget: int
    limit: int
    open: int
    pooled: int
    in_use: int
    monitoring: int


class ClientAnswer(Answer):
    """One client: a cluster's, or a dedicated tenant's."""

    kind: str
    cluster: str = ""
    tenant_id: Id | None = None
    leases: int = 0
    limit: int
    open: int
    pooled: int
    in_use: int
    monitoring: int


class ConnectionsAnswer(Answer):
    """The process that answered (its id), and all that it has open."""

    process: int
    cache: CacheAnswer
    leases: int
    sockets: SocketsAnswer
    clients: list[ClientAnswer]
