"""MongoDB deployments and what they know of a tenant: clients, database users, URIs."""
