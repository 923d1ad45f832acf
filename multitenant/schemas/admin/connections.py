"""What a process has open to MongoDB, as it is answered."""

from typing import Annotated

from multitenant.schemas.admin.tenants import Isolation
from multitenant.schemas.payload import Absent, Answer, Id


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

    kind: Isolation
    cluster: str
    tenant_id: Annotated[Id | None, Absent] = None
    leases: int
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
