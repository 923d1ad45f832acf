"""What operators do with tenants and clusters: migrations, backups, copies, moves, checks."""
