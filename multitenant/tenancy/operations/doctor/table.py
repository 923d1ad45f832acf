"""All checks, in the order in which they are made."""

from multitenant.tenancy.operations.doctor import admin_checks as admin
from multitenant.tenancy.operations.doctor import contents_checks as contents
from multitenant.tenancy.operations.doctor import deployment_checks as deployment
from multitenant.tenancy.operations.doctor import rehearsal_checks as rehearsal
from multitenant.tenancy.operations.doctor import settings_checks as settings
from multitenant.tenancy.operations.doctor.verdict import Check

USABLE = ("primary", "login")
SCRATCH = ("makes databases",)

OF_SETTINGS = (
    Check("settings", settings.look_at_settings),
    Check("secret files", settings.look_at_secret_files),
    Check("port", settings.look_at_port),
    Check("workers", settings.look_at_workers),
)
OF_DEPLOYMENT = (
    Check("reachable", deployment.reach),
    Check("encryption", deployment.be_encrypted, ("reachable",)),
    Check("clock", deployment.agree_on_time, ("reachable",)),
    Check("login", deployment.log_in, ("reachable",)),
    Check("replica set", deployment.be_replica_set, ("login",)),
    Check("primary", deployment.have_primary, ("login",)),
    Check("members", deployment.have_majority, ("login", "replica set")),
    Check("version", deployment.be_recent, USABLE),
    Check("support", deployment.be_supported, USABLE),
    Check("feature compatibility", deployment.be_upgraded, USABLE),
    Check("connections", deployment.have_connections, USABLE),
)
OF_ADMIN_DATABASE = (
    Check("migrations", admin.look_at_migrations, USABLE, essential=True),
    Check("admin change stream", admin.follow_changes, (*USABLE, "replica set"), essential=True),
    Check("admin indexes", admin.look_at_admin_indexes, ("migrations",), essential=True),
    Check("credential keys", admin.look_at_keys, ("migrations",), essential=True),
    Check("tenants' records", admin.look_at_records, ("migrations",), essential=True),
    Check("tenants' versions", admin.look_at_versions, ("migrations",), essential=True),
    Check("maintenance", admin.look_at_maintenance, ("migrations",), essential=True),
    Check("left-overs", admin.look_at_notes, ("migrations",), essential=True),
    Check(
        "tenants' indexes",
        admin.look_at_tenant_indexes,
        ("migrations",),
        takes_long=True,
        essential=True,
    ),
)
OF_CLUSTER = (
    Check("makes databases", rehearsal.make_databases, (*USABLE, "migrations"), essential=True),
    Check("write concern", rehearsal.acknowledge_writes, SCRATCH, essential=True),
    Check("transactions", rehearsal.have_transactions, (*SCRATCH, "replica set"), essential=True),
    Check(
        "change streams", rehearsal.have_change_streams, (*SCRATCH, "replica set"), essential=True
    ),
    Check("makes users", rehearsal.make_users, SCRATCH),
    Check("drops databases", rehearsal.drop_databases, SCRATCH, essential=True),
    Check("rights", deployment.have_rights, ("drops databases",)),
    Check("orphaned databases", contents.look_for_orphans, (*USABLE, "migrations")),
    Check(
        "missing databases",
        contents.look_for_databases,
        (*USABLE, "migrations"),
        takes_long=True,
    ),
    Check("open files", contents.look_at_open_files, (*USABLE, "migrations")),
)
