"""From a request to its tenant's database: the cache, the leases, and what keeps them true."""
