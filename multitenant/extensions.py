"""What create_app() built, for the code that runs in a request."""

from dataclasses import dataclass

from flask import Flask, current_app

from multitenant.config import Settings
from multitenant.security.field_encryption import FieldCipher
from multitenant.security.passwords import PasswordHasher
from multitenant.security.tokens import Tokens
from multitenant.serving.native_threads import in_native_thread
from multitenant.tenancy.authentication import Authenticator
from multitenant.tenancy.clients import ClientFactory
from multitenant.tenancy.connection_manager import ConnectionManager
from multitenant.tenancy.host_names import CACHED_HOSTS, HostNames
from multitenant.tenancy.login_limits import LoginLimits
from multitenant.tenancy.membership import Membership
from multitenant.tenancy.placement import Placement
from multitenant.tenancy.prepared_databases import PreparedDatabases
from multitenant.tenancy.provisioning import Provisioner
from multitenant.tenancy.recent_answers import RecentAnswers
from multitenant.tenancy.revocations import CACHED_CHECKS, Revocations
from multitenant.tenancy.tenant_concurrency import TenantConcurrency
from multitenant.tenancy.tenant_credentials import TenantCredentials
from multitenant.tenancy.tenant_lifecycle import TenantLifecycle
from multitenant.tenancy.usage import Usage
from multitenant.tenancy.user_administration import UserAdministration
from multitenant.tenancy.watcher import Watcher

NAME = "multitenant"


@dataclass(frozen=True, slots=True)
class Platform:
    """The collaborators of one application, wired together."""

    settings: Settings
    connections: ConnectionManager
    watcher: Watcher
    tokens: Tokens
    revocations: Revocations
    host_names: HostNames
    authenticator: Authenticator
    membership: Membership
    user_administration: UserAdministration
    provisioner: Provisioner
    prepared: PreparedDatabases
    lifecycle: TenantLifecycle
    credentials: TenantCredentials
    cipher: FieldCipher
    concurrency: TenantConcurrency
    login_limits: LoginLimits
    usage: Usage

    def close(self, timeout: float) -> bool:
        """Stop listening, wait up to `timeout` seconds for leases, close every client.

        Return whether all leases were given back. May be called again.
        """
        self.watcher.stop()
        self.prepared.stop()
        return self.connections.close(timeout)


def build_platform(
    settings: Settings, factory: ClientFactory, placement: Placement | None
) -> Platform:
    """Wire the collaborators. Opens nothing."""
    stale_seconds = settings.tenant_stale_seconds
    watcher = Watcher(lambda: connections.admin_db, stale_seconds=stale_seconds)
    vouches = watcher.vouches_for
    cipher = FieldCipher([key.get_secret_value() for key in settings.credential_keys])
    connections = ConnectionManager(
        settings,
        factory,
        cipher,
        placement=placement,
        vouches=vouches,
        on_dedicated=watcher.ensure_running,
    )
    transaction_seconds = settings.operation_timeout_ms / 1000
    credentials = TenantCredentials(
        connections,
        cipher,
        on_retiring=watcher.ensure_running,
        settle_seconds=transaction_seconds,
    )
    prepared = PreparedDatabases(
        connections, size=settings.provisioning_pool_size, db_prefix=settings.tenant_db_prefix
    )
    tokens = Tokens(settings)
    hasher = PasswordHasher(
        rounds=settings.bcrypt_rounds,
        parallel=settings.password_hash_concurrency,
        waiting=settings.max_waiting_hashes,
        run=in_native_thread,
    )
    concurrency = TenantConcurrency(settings.max_requests_of_a_tenant)
    revocations = Revocations(
        lambda: connections.admin_db,
        RecentAnswers(CACHED_CHECKS, stale_seconds=stale_seconds, vouches=vouches),
    )
    host_names = HostNames(
        lambda: connections.admin_db,
        RecentAnswers(CACHED_HOSTS, stale_seconds=stale_seconds, vouches=vouches),
        base_domain=settings.base_domain,
    )
    watcher.on_tenant_change(connections.forget)
    watcher.on_tenant_change(lambda _: host_names.forget())
    watcher.on_revocation(revocations.forget)
    for forget in (connections.forget_all, host_names.forget, revocations.forget):
        watcher.on_gap(forget)
    for keep_house in (connections.close_idle, credentials.retire_unused):
        watcher.on_pause(keep_house)
    return Platform(
        settings=settings,
        connections=connections,
        watcher=watcher,
        tokens=tokens,
        revocations=revocations,
        host_names=host_names,
        authenticator=Authenticator(
            connections,
            hasher,
            tokens,
            revocations,
            concurrency,
            transaction_seconds=transaction_seconds,
        ),
        membership=Membership(
            connections,
            hasher,
            tokens,
            revocations,
            concurrency,
            transaction_seconds=transaction_seconds,
        ),
        user_administration=UserAdministration(
            connections, hasher, tokens, revocations, transaction_seconds=transaction_seconds
        ),
        lifecycle=TenantLifecycle(
            connections,
            credentials,
            cipher,
            host_names,
            allowed_hosts=settings.tenant_uri_allowed_hosts,
            transaction_seconds=transaction_seconds,
        ),
        provisioner=Provisioner(
            connections,
            hasher,
            tokens,
            cipher,
            prepared,
            db_prefix=settings.tenant_db_prefix,
            allowed_hosts=settings.tenant_uri_allowed_hosts,
            transaction_seconds=transaction_seconds,
        ),
        prepared=prepared,
        credentials=credentials,
        cipher=cipher,
        concurrency=concurrency,
        login_limits=LoginLimits(settings.login_rate_limit, lambda: connections.admin_db),
        usage=Usage(connections, pool_size=settings.max_pool_size),
    )


def platform_of(app: Flask) -> Platform:
    """The platform of this application."""
    platform: Platform = app.extensions[NAME]
    return platform


def platform() -> Platform:
    """The platform of the application that is handling the present request."""
    return platform_of(current_app)
