"""What create_app() built, for the code that runs in a request."""

import time
from dataclasses import dataclass
from functools import partial

from flask import Flask, current_app

from multitenant.config import Settings
from multitenant.security.field_encryption import FieldCipher
from multitenant.security.passwords import PasswordHasher
from multitenant.security.tokens import Tokens
from multitenant.serving.native_threads import NativeThreads
from multitenant.tenancy.deployments.clients import ClientFactory
from multitenant.tenancy.lifecycle.cluster_placement import ClusterPlacement
from multitenant.tenancy.lifecycle.fresh_databases import FreshDatabases
from multitenant.tenancy.lifecycle.prepared_databases import PreparedDatabases
from multitenant.tenancy.lifecycle.provisioning import Provisioner
from multitenant.tenancy.lifecycle.tenant_credentials import TenantCredentials
from multitenant.tenancy.lifecycle.tenant_lifecycle import TenantLifecycle
from multitenant.tenancy.operations.cluster_administration import ClusterAdministration
from multitenant.tenancy.operations.cluster_report import ClusterReport
from multitenant.tenancy.operations.moving import Moves
from multitenant.tenancy.operations.restoration import Restoration
from multitenant.tenancy.operations.tenant_copies import TenantCopies
from multitenant.tenancy.operations.usage import Usage
from multitenant.tenancy.routing.connection_manager import ConnectionManager
from multitenant.tenancy.routing.host_names import HostNames, subject_of
from multitenant.tenancy.routing.placement import Placement
from multitenant.tenancy.routing.recent_answers import RecentAnswers
from multitenant.tenancy.routing.revocations import Revocations
from multitenant.tenancy.routing.tenant_concurrency import TenantConcurrency
from multitenant.tenancy.routing.watcher import Watcher
from multitenant.tenancy.users.authentication import Authenticator
from multitenant.tenancy.users.change_limits import ChangeLimits
from multitenant.tenancy.users.login_limits import LoginLimits
from multitenant.tenancy.users.membership import Membership
from multitenant.tenancy.users.refresh_uses import RefreshUses
from multitenant.tenancy.users.user_administration import UserAdministration
from multitenant.tenancy.users.withdrawals import Withdrawals

NAME = "multitenant"
LOGIN_COUNT_SECONDS = 2.0
"""A login waits no longer than this to be counted; without the count it does not fail."""


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
    clusters: ClusterAdministration
    cluster_report: ClusterReport
    lifecycle: TenantLifecycle
    credentials: TenantCredentials
    copies: TenantCopies
    restoration: Restoration
    moves: Moves
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
        self.cluster_report.stop()
        return self.connections.close(timeout)


def build_platform(
    settings: Settings, factory: ClientFactory, placement: Placement | None
) -> Platform:
    """Wire the collaborators. Opens nothing."""
    stale_seconds = settings.tenant_stale_seconds
    watcher = Watcher(lambda: connections.admin_db, stale_seconds=stale_seconds)
    vouches, as_of = watcher.vouches_for, watcher.as_of
    cipher = FieldCipher([key.get_secret_value() for key in settings.credential_keys])
    connections = ConnectionManager(
        settings,
        factory,
        cipher,
        placement=placement,
        vouches=vouches,
        as_of=as_of,
        watch=watcher.ensure_running,
    )
    transaction_seconds = settings.operation_timeout_ms / 1000
    credentials = TenantCredentials(
        connections,
        cipher,
        on_retiring=watcher.ensure_running,
        settle_seconds=transaction_seconds,
    )
    cluster_placement = ClusterPlacement(connections)
    cluster_report = ClusterReport(connections)
    prepared = PreparedDatabases(
        connections,
        cipher,
        cluster_placement,
        size=settings.provisioning_pool_size,
        db_prefix=settings.tenant_db_prefix,
    )
    tokens = Tokens(settings, connections.now)
    hasher = PasswordHasher(
        rounds=settings.bcrypt_rounds,
        parallel=settings.password_hash_concurrency,
        waiting=settings.max_waiting_hashes,
        run=NativeThreads(settings.password_hash_concurrency).run,
    )
    fresh = FreshDatabases(
        connections,
        cipher,
        cluster_placement,
        db_prefix=settings.tenant_db_prefix,
        allowed_hosts=settings.tenant_uri_allowed_hosts,
    )
    concurrency = TenantConcurrency(settings.max_requests_of_a_tenant)
    revocations = Revocations(
        lambda: connections.admin_db,
        RecentAnswers(
            settings.revocation_cache_size,
            stale_seconds=stale_seconds,
            vouches=vouches,
            as_of=as_of,
        ),
    )
    withdrawals = Withdrawals(lambda: connections.admin_db, tokens.longest_life)
    host_names = HostNames(
        lambda: connections.admin_db,
        RecentAnswers(
            settings.host_cache_size,
            stale_seconds=stale_seconds,
            vouches=vouches,
            as_of=as_of,
            subject=subject_of,
        ),
        base_domain=settings.base_domain,
    )
    watcher.on_tenant_change(connections.forget)
    watcher.on_tenant_fields(host_names.hear)
    watcher.on_revocation(revocations.forget)
    watcher.on_cluster_change(lambda _: connections.refresh_clusters_soon())
    watcher.on_handshake(partial(connections.presence.answer, forget=connections.forget))
    for forget in (connections.forget_all, host_names.forget, revocations.forget):
        watcher.on_gap(forget)
    watcher.on_gap(connections.refresh_clusters_soon)

    def look_at_clusters() -> None:
        if connections.clusters_are_old or not vouches(time.monotonic()):
            connections.refresh_clusters_soon()

    for keep_house in (
        connections.presence.beat,
        connections.close_idle,
        connections.close_idle_clusters,
        credentials.retire_unused,
        look_at_clusters,
    ):
        watcher.on_pause(keep_house)
    login_limits = LoginLimits(
        settings.login_rate_limit,
        lambda: connections.admin_db,
        connections.now,
        seconds=min(LOGIN_COUNT_SECONDS, transaction_seconds),
    )
    change_limits = ChangeLimits(
        settings.tenant_change_limit, lambda: connections.admin_db, connections.now
    )
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
            withdrawals,
            concurrency,
            RefreshUses(lambda: connections.admin_db, grace_seconds=settings.refresh_grace_seconds),
            change_limits,
            transaction_seconds=transaction_seconds,
        ),
        membership=Membership(
            connections,
            hasher,
            tokens,
            revocations,
            withdrawals,
            concurrency,
            login_limits,
            transaction_seconds=transaction_seconds,
        ),
        user_administration=UserAdministration(
            connections,
            hasher,
            tokens,
            revocations,
            withdrawals,
            change_limits,
            transaction_seconds=transaction_seconds,
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
            cluster_placement,
            prepared,
            on_added=cluster_report.measure_soon,
            db_prefix=settings.tenant_db_prefix,
            allowed_hosts=settings.tenant_uri_allowed_hosts,
            transaction_seconds=transaction_seconds,
        ),
        clusters=ClusterAdministration(
            connections,
            factory,
            cipher,
            budget=settings.connection_budget,
            transaction_seconds=transaction_seconds,
        ),
        cluster_report=cluster_report,
        prepared=prepared,
        credentials=credentials,
        copies=TenantCopies(connections, cipher, fresh),
        restoration=Restoration(
            connections,
            cipher,
            fresh,
            withdrawals,
            settle_seconds=stale_seconds,
            transaction_seconds=transaction_seconds,
        ),
        moves=Moves(connections, cipher, fresh, transaction_seconds=transaction_seconds),
        cipher=cipher,
        concurrency=concurrency,
        login_limits=login_limits,
        usage=Usage(connections, pool_size=settings.max_pool_size),
    )


def platform_of(app: Flask) -> Platform:
    """The platform of this application."""
    platform: Platform = app.extensions[NAME]
    return platform


def platform() -> Platform:
    """The platform of the application that is handling the present request."""
    return platform_of(current_app)
