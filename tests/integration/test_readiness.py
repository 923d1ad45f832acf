"""/readyz answers 200 only where a login can succeed."""

import pytest
from pydantic import SecretStr

from multitenant import create_app
from multitenant.embedded import EmbeddedServer
from multitenant.extensions import platform_of
from tests.conftest import Client
from tests.failpoints import failing
from tests.support import World, eventually, refusal


@pytest.mark.slow
@pytest.mark.parametrize("code", [14031, 10107, 11600, 13])
def test_a_server_that_takes_no_write_is_not_ready(
    shared: World, mongo: Client, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """A full disk, no primary any more, one that is stopping, no right to write."""
    monkeypatch.setattr("multitenant.controllers.health.READY_SECONDS", 0.5)
    eventually(lambda: shared.client.get("/readyz").status_code == 200)
    with failing(mongo, "alwaysOn", "update", "insert", errorCode=code):
        assert shared.client.get("/readyz").status_code in (500, 503)
        assert shared.client.get("/healthz").status_code == 200
    eventually(lambda: shared.client.get("/readyz").status_code == 200)


def test_a_user_who_may_only_read_is_not_enough(
    shared: World, mongod: EmbeddedServer, mongo: Client
) -> None:
    roles = [{"role": "readAnyDatabase", "db": "admin"}]
    mongo.admin.command("createUser", "reader", pwd="reader", roles=roles)
    uri = mongod.uri.replace(f"multitenant:{mongod._password}", "reader:reader")
    settings = shared.platform.settings.model_copy(update={"admin_db_uri": SecretStr(uri)})
    app = create_app(settings)
    try:
        refusal(app.test_client().get("/readyz"), 503, "database_unavailable")
    finally:
        platform_of(app).close(0)
        mongo.admin.command("dropUser", "reader")
