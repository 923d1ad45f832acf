"""The life of a tenant: provisioning, suspending, deleting, and what a crash leaves behind."""
