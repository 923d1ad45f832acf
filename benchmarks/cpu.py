"""What a request costs here, against the least that Flask and PyMongo need for the same answer.

    python -m benchmarks.cpu --help

Both sides run in this process, one after the other in turns, against the embedded MongoDB, and the
figure is CPU time of this process per request: it does not depend on what else mongod or the
machine are doing. Read the ratio, not the microseconds.
"""

import argparse
import secrets
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flask
import jwt
from bson import ObjectId
from pydantic import SecretStr
from pymongo import MongoClient
from werkzeug.test import EnvironBuilder, run_wsgi_app

from multitenant import create_app
from multitenant.config import Settings, load_settings
from multitenant.embedded import EmbeddedServer
from multitenant.extensions import Platform, platform_of
from multitenant.schemas.admin.tenants import NewTenant
from multitenant.tenancy.actor import Actor
from multitenant.tenancy.lifecycle.initialisation import initialise
from multitenant.tenancy.users.authentication import TenantHints

PASSWORD = "a password for benchmarks"
KEY = secrets.token_hex(32)
Request = Callable[[], None]


def floor(uri: str) -> flask.Flask:
    """A bare application: one tenant, one JWT check, one query."""
    app = flask.Flask("floor")
    users = MongoClient[dict[str, Any]](uri, tz_aware=True)["floor"]["users"]

    @app.get("/api/users/me")
    def me() -> dict[str, Any]:
        token = flask.request.headers["Authorization"].removeprefix("Bearer ")
        claims = jwt.decode(token, KEY, algorithms=["HS256"])
        user = users.find_one({"_id": ObjectId(claims["sub"])})
        assert user is not None
        return {"id": str(user["_id"]), "email": user["email"], "role": user["role"]}

    return app


def floor_request(uri: str) -> Request:
    """One request to the bare application."""
    user: dict[str, Any] = {"_id": ObjectId(), "email": "owner@acme.example", "role": "owner"}
    with MongoClient[dict[str, Any]](uri) as client:
        client["floor"]["users"].insert_one(user)
    claims: dict[str, Any] = {"sub": str(user["_id"]), "exp": int(time.time()) + 3600}
    return request_to(floor(uri), jwt.encode(claims, KEY))


def platform_requests(settings: Settings, tenants: int) -> tuple[Platform, list[Request]]:
    """One request for each of that many tenants."""
    app = create_app(settings)
    platform = platform_of(app)
    initialise(
        platform.connections,
        platform.provisioner,
        email="operator@example.com",
        password=SecretStr(PASSWORD),
        made_up_password=lambda: PASSWORD,
    )
    requests = []
    for number in range(tenants):
        email = f"owner{number}@acme.example"
        fields = {"name": f"Tenant {number}", "email": email, "password": PASSWORD}
        platform.provisioner.provision(NewTenant.model_validate(fields))
        with app.app_context():
            session = platform.authenticator.login(
                email, PASSWORD, TenantHints(), Actor.on_command_line()
            )
        requests.append(request_to(app, session.tokens.access))
    return platform, requests


def request_to(app: flask.Flask, token: str) -> Request:
    """A function that sends `GET /api/users/me` to the application, without a network."""
    environ = EnvironBuilder("/api/users/me").get_environ()
    environ["HTTP_AUTHORIZATION"] = f"Bearer {token}"

    def send() -> None:
        body, status, _ = run_wsgi_app(app, dict(environ), buffered=True)
        assert status.startswith("200"), b"".join(body)

    return send


def cpu_of(requests: list[Request], count: int) -> float:
    """Return the CPU time of one request, in microseconds."""
    started = time.process_time()
    for number in range(count):
        requests[number % len(requests)]()
    return (time.process_time() - started) / count * 1e6


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--tenants", type=int, default=100)
    parser.add_argument("--requests", type=int, default=2000, help="a round, on each side")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as directory,
        EmbeddedServer(Path(directory) / "mongodb") as server,
    ):
        compare(server.uri, directory, options)


def compare(uri: str, directory: str, options: argparse.Namespace) -> None:
    """Measure all sides in turns and print the table."""
    environment = {
        "MULTITENANT_ENV": "development",
        "ADMIN_DB_URI": uri,
        "INSTANCE_PATH": directory,
        "BCRYPT_ROUNDS": "4",
        "LOG_LEVEL": "WARNING",
    }
    settings = load_settings(environment, env_file=None)
    platform, many = platform_requests(settings, options.tenants)
    sides = {
        "bare Flask and PyMongo, one tenant": [floor_request(uri)],
        "this application, one tenant": many[:1],
        f"this application, {options.tenants} tenants": many,
    }
    figures: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(options.rounds + 1):
        for name, requests in sides.items():
            cpu = cpu_of(requests, options.requests)
            if number:  # the first round warms up
                figures[name].append(cpu)
    base = statistics.median(next(iter(figures.values())))
    print("GET /api/users/me, CPU of this process per request, median of rounds:")
    for name, values in figures.items():
        median = statistics.median(values)
        print(f"  {name:40} {median:7.0f} µs   {median / base:5.2f} x")
    print(f"Clients open: {platform.connections.stats()['clients']}")
    platform.close(timeout=0)


if __name__ == "__main__":
    main()
