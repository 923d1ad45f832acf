"""/healthz and /readyz."""

from typing import Any

import pymongo
import pytest
from pydantic import SecretStr
from pymongo import MongoClient

from multitenant import create_app
from multitenant.config import Settings, load_settings
from multitenant.extensions import platform_of
from tests.failpoints import failing
from tests.support import World, answer, refusal


def test_a_running_platform_is_healthy_and_ready(world: World) -> None:
    assert answer(world.client.get("/healthz")) == {"status": "ok"}
    assert answer(world.client.get("/readyz")) == {"status": "ready"}


def test_without_migrations_it_is_not_ready_and_says_what_to_do(
    unused_environment: dict[str, str],
) -> None:
    app = create_app(load_settings(unused_environment, env_file=None))
    response = app.test_client().get("/readyz")
    refusal(response, 503, "database_unavailable")
    assert "multitenant init" in response.get_json()["message"]
    platform_of(app).close(0)


def test_without_a_database_it_is_healthy_but_not_ready(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("multitenant.controllers.health.READY_SECONDS", 0.3)
    nobody = SecretStr("mongodb://127.0.0.1:1/?replicaSet=x")
    app = create_app(settings.model_copy(update={"admin_db_uri": nobody}))
    client = app.test_client()
    assert client.get("/healthz").status_code == 200
    response = client.get("/readyz")
    refusal(response, 503, "database_unavailable")
    assert int(response.headers["Retry-After"]) > 0
    platform_of(app).close(0)


def test_a_database_that_goes_away_in_a_request_answers_503(
    world: World, mongo: MongoClient[dict[str, Any]]
) -> None:
    owner = world.tenant("Acme")
    with failing(mongo, "alwaysOn", "find", closeConnection=True), pymongo.timeout(0.5):
        response = owner.get("/api/to-do-list")
    refusal(response, 503, "database_unavailable")
    assert int(response.headers["Retry-After"]) > 0
    assert owner.get("/api/to-do-list").status_code == 200


def test_a_slow_database_answers_503_in_bounded_time(
    world: World, mongo: MongoClient[dict[str, Any]]
) -> None:
    owner = world.tenant("Acme")
    slow = {"blockConnection": True, "blockTimeMS": 1000}
    with failing(mongo, {"times": 5}, "find", **slow), pymongo.timeout(0.2):
        response = owner.get("/api/to-do-list")
    refusal(response, 503, "database_unavailable")
