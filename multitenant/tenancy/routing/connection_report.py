"""What this process has open to MongoDB, as operators see it."""

import os
from typing import Any

from multitenant.tenancy.deployments.clients import OpenedClient
from multitenant.tenancy.routing.connection_manager import ConnectionManager


def report_connections(connections: ConnectionManager, *, budget: int) -> dict[str, Any]:
    """Return the cache's counts, every open client, and all sockets against the budget.

    `limit` is what all open clients together may open, and never above `budget`; sockets that
    watch servers are counted with the others. The `leases` of a cluster are all that its tenants
    have, also those who have a client of their own. Each process answers for itself.
    """
    leases = connections.cluster_leases()
    clients = [
        {"kind": "shared", "cluster": name, "leases": leases.get(name, 0), **_sockets(opened)}
        for name, opened in connections.cluster_clients()
    ] + [
        {
            "kind": "dedicated",
            "cluster": own.cluster,
            "tenantId": str(own.tenant_id),
            "leases": own.leases,
            **_sockets(own.opened),
        }
        for own in connections.own_clients()
    ]
    stats = connections.stats()
    cache = ("size", "capacity", "hits", "misses", "rechecks", "evictions")
    return {
        "process": os.getpid(),
        "cache": {name: stats[name] for name in cache},
        "leases": stats["leases"],
        "sockets": {
            "budget": budget,
            **{
                name: sum(client[name] for client in clients)
                for name in ("limit", "open", "pooled", "inUse", "monitoring")
            },
        },
        "clients": clients,
    }


def _sockets(opened: OpenedClient) -> dict[str, Any]:
    pooled, monitoring = opened.pooled, opened.monitoring
    return {
        "open": pooled + monitoring,
        "pooled": pooled,
        "inUse": opened.in_use,
        "monitoring": monitoring,
        "limit": opened.limit,
    }
