"""A Flask back end for software-as-a-service on MongoDB, with one database per tenant."""

import logging.config
from collections.abc import Sequence

from flask_openapi3 import Contact, Info

from multitenant.config import Settings, load_settings
from multitenant.controllers import auth, docs, health, tenant
from multitenant.controllers.admin import audit, connections, tenants, usage
from multitenant.errors import ConfigurationError
from multitenant.extensions import NAME, build_platform
from multitenant.logs import logging_config
from multitenant.middleware import (
    cors,
    database_resolver,
    error_handlers,
    request_log,
    request_rules,
    request_target,
    security_headers,
    session_cookies,
    trusted_proxies,
)
from multitenant.middleware.strict_json import StrictRequest
from multitenant.openapi import Application
from multitenant.openapi.texts import CONTACT, DESCRIPTION
from multitenant.tenancy.deployments.clients import ClientFactory, Listener
from multitenant.tenancy.deployments.isolation import IsolationListener
from multitenant.tenancy.routing.placement import Placement

__version__ = "0.1.0"

MIDDLEWARE = (
    trusted_proxies,
    request_target,
    request_log,
    security_headers,
    cors,
    session_cookies,
    database_resolver,
    request_rules,
    error_handlers,
)
BLUEPRINTS = (
    auth.blueprint,
    health.blueprint,
    tenants.blueprint,
    audit.blueprint,
    connections.blueprint,
    usage.blueprint,
    *tenant.BLUEPRINTS,
)


def create_app(
    settings: Settings | None = None,
    *,
    placement: Placement | None = None,
    listeners: Sequence[Listener] = (),
) -> Application:
    """Assemble the application; `settings` come from the environment when not given.

    Opens no connection, so it may run before a fork. Tests pass their own `placement` and
    PyMongo `listeners`. Raises ConfigurationError.
    """
    settings = settings or load_settings()
    if not settings.admin_db_uri.get_secret_value():
        raise ConfigurationError(
            "ADMIN_DB_URI is not set. `multitenant run` starts the embedded MongoDB by itself;"
            " any other server needs the URI of a replica set."
        )
    logging.config.dictConfig(logging_config(settings))
    if settings.isolation_check:
        listeners = (*listeners, IsolationListener())
    platform = build_platform(settings, ClientFactory(settings, listeners), placement)

    app = Application(
        __name__,
        info=Info(
            title="Multitenant",
            version=__version__,
            description=DESCRIPTION,
            contact=Contact(name=CONTACT),
        ),
        validation_error_callback=error_handlers.refuse_invalid_input,
        static_folder=None,
        doc_ui=False,
    )
    app.request_class = StrictRequest
    app.ensure_sync = lambda func: func  # type: ignore[method-assign]  # none is asynchronous
    app.url_map.merge_slashes = False  # a redirect would be built from the caller's Host
    app.config["MAX_CONTENT_LENGTH"] = settings.max_content_length
    app.extensions[NAME] = platform
    platform.tokens.init_app(app)
    for middleware in MIDDLEWARE:
        middleware.init_app(app)
    for blueprint in BLUEPRINTS:
        app.register_api(blueprint)
    app.register_blueprint(docs.blueprint)
    return app
