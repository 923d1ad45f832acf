"""What a cached tenant takes in memory.

    python -m benchmarks.memory --help

Fills a process's tenant cache with tenants, as their first requests would, on a MongoDB of its own,
and prints the memory that Python holds for each. The tenants are records in the admin database;
their databases are not made, since a lease does not touch them.
"""

import argparse
import gc
import tempfile
import tracemalloc
from pathlib import Path

from bson import ObjectId

from multitenant import create_app
from multitenant.config import load_settings
from multitenant.embedded import EmbeddedServer
from multitenant.extensions import platform_of
from multitenant.repositories.model import utc_now
from multitenant.tenancy.routing.connection_manager import ConnectionManager


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--tenants", type=int, default=10_000)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        EmbeddedServer(Path(folder) / "mongodb") as server,
    ):
        environment = {
            "MULTITENANT_ENV": "development",
            "ADMIN_DB_URI": server.uri,
            "INSTANCE_PATH": folder,
            "LOG_LEVEL": "WARNING",
            "TENANT_CACHE_SIZE": str(options.tenants),
        }
        platform = platform_of(create_app(load_settings(environment, env_file=None)))
        print(f"{bytes_per_tenant(platform.connections, options.tenants):,.0f} bytes a tenant")
        platform.close(timeout=0)


def bytes_per_tenant(connections: ConnectionManager, count: int) -> float:
    """Lease so many tenants once, and return what the cache holds for each."""
    now = utc_now()
    ids = [ObjectId() for _ in range(count)]
    connections.admin_db["tenants"].insert_many(
        {
            "_id": tenant_id,
            "name": f"Tenant {tenant_id}",
            "subdomain": f"tenant-{tenant_id}",
            "domains": [f"{tenant_id}.example.com"],
            "dbName": f"tenant_{tenant_id}",
            "cluster": "default",
            "isolation": "shared",
            "status": "active",
            "modules": ["todos", "posts"],
            "userLimit": 20,
            "system": False,
            "createdAt": now,
            "updatedAt": now,
        }
        for tenant_id in ids
    )
    for tenant_id in ids[:100]:
        connections.lease(tenant_id).release()
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for tenant_id in ids[100:]:
        connections.lease(tenant_id).release()
    gc.collect()
    return (tracemalloc.get_traced_memory()[0] - before) / (count - 100)


if __name__ == "__main__":
    main()
