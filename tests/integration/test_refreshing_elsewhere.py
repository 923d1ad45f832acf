"""Refreshing by cookies, where the tenant lives on another cluster than the admin database."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from multitenant.repositories.model import utc_now
from tests.support import PASSWORD, World, answer, refusal

Run = Callable[[list[Callable[[], Any]]], list[Any]]


@pytest.mark.usefixtures("blue")
def test_two_tabs_of_a_user_on_another_cluster(world: World, run_together: Run) -> None:
    world.tenant("Acme", cluster="blue")
    body = {"email": "owner@acme.example", "password": PASSWORD, "useCookies": True}
    logged_in = world.client.post("/api/login", json=body)
    csrf = answer(logged_in)["refreshCsrfToken"]
    cookies = [it.partition(";")[0] for it in logged_in.headers.getlist("Set-Cookie")]
    headers = {"Cookie": "; ".join(cookies), "X-CSRF-TOKEN": csrf}

    def refresh() -> Any:
        return world.client.post("/api/refresh", headers=headers)

    assert [response.status_code for response in run_together([refresh] * 8)] == [200] * 8
    used = {"reusableUntil": {"$exists": True}}
    long_ago = {"$set": {"reusableUntil": utc_now() - timedelta(hours=1)}}
    assert world.admin_db["revocations"].update_many(used, long_ago).matched_count == 1
    refusal(refresh(), 401, "token_revoked")
