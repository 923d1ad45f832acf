"""`multitenant tenants`: what operators do with tenants from the command line."""

import json
from typing import Any

import pytest
from bson import ObjectId
from click.testing import Result

from tests.integration.conftest import Command
from tests.support import PASSWORD, User, World, answer, eventually, refusal


def told(result: Result) -> Any:
    """What a command with --json has printed."""
    assert result.exit_code == 0, f"{result.output}{result.exception}"
    return json.loads(result.stdout)


def failed(result: Result) -> str:
    """Why a command has failed, as main() would tell it."""
    assert result.exit_code != 0, result.output
    return f"{result.output}{result.exception}"


def becomes(owner: User, status: int) -> None:
    """Fail unless the tenant's requests are soon answered so, where a process only hears of it."""
    eventually(lambda: owner.get("/api/users/me").status_code == status)


def audited(world: World, action: str) -> dict[str, Any]:
    """The newest entry of that action."""
    entry: dict[str, Any] = answer(world.operator.get(f"/api/audit?action={action}"))["items"][0]
    return entry


def test_a_tenant_lives_its_whole_life_on_the_command_line(world: World, command: Command) -> None:
    added = told(
        command(
            *("tenants", "add", "Acme", "ann@acme.example", "--subdomain", "acme"),
            *("--module", "todos", "--user-limit", "3", "--password-stdin", "--json"),
            input=f"{PASSWORD}\n",
        )
    )
    assert set(added) == {"tenantId", "userId"}
    owner = world.login("ann@acme.example")
    assert (owner.tenant_id, owner.user_id) == (added["tenantId"], added["userId"])
    shown = told(command("tenants", "show", "ACME", "--json"))
    api = answer(world.operator.get(f"/api/tenants/{owner.tenant_id}"))
    assert shown == api
    assert (shown["modules"], shown["userLimit"]) == (["todos"], 3)

    assert told(command("tenants", "suspend", "acme", "--yes", "--json"))["status"] == ("suspended")
    becomes(owner, 403)
    entry = audited(world, "tenant.suspend")
    assert (entry["actor"], entry["tenantId"]) == (None, owner.tenant_id)
    assert entry["osUser"]
    assert "is active now" in command("tenants", "activate", "acme").output
    becomes(owner, 200)
    assert command("tenants", "delete", "acme", "--yes").exit_code == 0
    becomes(owner, 401)
    assert command("tenants", "restore", "acme").exit_code == 0
    becomes(owner, 200)

    assert "is active; delete it first" in failed(command("tenants", "purge", "acme"))
    command("tenants", "delete", "acme", "--yes")
    name = shown["dbName"]
    assert name in world.databases()
    purged = command("tenants", "purge", owner.tenant_id, input="Acme\n")
    assert purged.exit_code == 0, purged.output
    assert "database: gone" in purged.stdout
    assert name not in world.databases()
    assert audited(world, "tenant.purge")["osUser"]


def test_without_a_password_the_owner_is_invited(world: World, command: Command) -> None:
    added = told(command("tenants", "add", "Acme", "ann@acme.example", "--json"))
    body = {"token": added["invitationToken"], "password": PASSWORD}
    assert world.client.post("/api/invitations/accept", json=body).status_code == 200
    assert world.login("ann@acme.example").tenant_id == added["tenantId"]


def test_a_password_is_asked_for_twice_and_shown_never(world: World, command: Command) -> None:
    typed = f"{PASSWORD}\nanother\n{PASSWORD}\n{PASSWORD}\n"
    added = command("tenants", "add", "Acme", "ann@acme.example", "--password", input=typed)
    assert added.exit_code == 0, added.output
    assert PASSWORD not in added.output
    assert world.login("ann@acme.example")


def test_secrets_are_never_arguments(command: Command) -> None:
    for option in ("--password=secret", "--db-uri=mongodb://u:secret@host/"):
        result = command("tenants", "add", "Acme", "ann@acme.example", option)
        assert result.exit_code == 2
        assert "does not take a value" in result.output


def test_a_tenant_on_a_server_of_its_own_whose_uri_comes_from_standard_input(
    make_world: Any,
    command: Command,
    their_uri: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TENANT_URI_ALLOWED_HOSTS", "127.0.0.1")
    world = make_world(tenant_uri_allowed_hosts="127.0.0.1")
    added = told(
        command(
            *("tenants", "add", "Acme", "ann@acme.example", "--db-uri-stdin", "--json"),
            input=their_uri,
        )
    )
    for arguments in (("show", "acme"), ("show", "acme", "--json"), ("list", "--json")):
        output = command("tenants", *arguments).output
        assert "external" in output
        assert "their-password" not in output
        assert "mongodb://" not in output
    both = ("--password-stdin", "--db-uri-stdin")
    assert command("tenants", "add", "A", "a@b.example", *both).exit_code == 2
    command("tenants", "delete", "acme", "--yes")
    purged = command("tenants", "purge", "acme", "--yes", "--confirm", "Acme", "--json")
    assert told(purged)["tenantId"] == added["tenantId"]
    assert all(told(purged)["gone"].values())
    assert world.admin_db["tenants"].count_documents({}) == 1


def test_bad_values_are_named_and_nothing_is_made(world: World, command: Command) -> None:
    before = world.databases()
    result = command(
        *("tenants", "add", "Acme", "no-address", "--subdomain", "www", "--user-limit", "0"),
        *("--password-stdin",),
        input="short\n",
    )
    assert result.exit_code == 2
    for wrong in ("email: ", "subdomain: 'www' is reserved", "userLimit: ", "password: "):
        assert wrong in result.output
    assert "short" not in result.output
    command("tenants", "add", "Acme", "ann@acme.example")
    assert "already taken" in failed(command("tenants", "add", "acme", "x@acme.example"))
    assert len(world.databases()) == len(before) + 1


def test_an_idempotency_key_answers_the_first_result(world: World, command: Command) -> None:
    add = ("tenants", "add", "Acme", "ann@acme.example", "--idempotency-key", "k", "--json")
    assert told(command(*add)) == told(command(*add))
    body = {"name": "Acme", "email": "ann@acme.example"}
    api = world.operator.post("/api/add", body, headers={"Idempotency-Key": "k"})
    refusal(api, 409, "already_exists")


def test_the_list_has_all_pages_and_filters(world: World, command: Command) -> None:
    record = world.admin_db["tenants"].find_one()
    assert record is not None
    made = [
        {
            **record,
            "_id": ObjectId(f"{number:024x}"),
            "name": f"T{number}",
            "subdomain": f"t{number}",
            "dbName": f"t{number}",
        }
        for number in range(205)
    ]
    world.admin_db["tenants"].insert_many(made)
    try:
        world.set_status(str(made[7]["_id"]), "suspended")
        listed = told(command("tenants", "list", "--json"))
        assert {one["name"] for one in listed} == {"operators", *(one["name"] for one in made)}
        assert len(listed) == 206
        table = command("tenants", "list")
        assert len(table.stdout.splitlines()) == 207
        assert "206 tenants" in table.stderr
        suspended = told(command("tenants", "list", "--status", "suspended", "--json"))
        assert [one["name"] for one in suspended] == ["T7"]
        some = told(command("tenants", "list", "--q", "t20", "--json"))
        assert {one["name"] for one in some} == {"T20", *(f"T{it}" for it in range(200, 205))}
        assert told(command("tenants", "list", "--q", "nobody", "--json")) == []
    finally:
        world.admin_db["tenants"].delete_many({"_id": {"$in": [one["_id"] for one in made]}})


def test_a_name_that_is_nobodys_or_two_tenants_is_refused(world: World, command: Command) -> None:
    acme = world.tenant("Acme", subdomain="globex")
    globex = world.tenant("Globex", subdomain="acme-two")
    assert "There is no tenant 'nobody'" in failed(command("tenants", "show", "nobody"))
    ambiguous = failed(command("tenants", "suspend", "globex", "--yes"))
    assert "name the tenant by its id" in ambiguous
    assert acme.tenant_id in ambiguous
    assert globex.tenant_id in ambiguous
    by_id = command("tenants", "show", globex.tenant_id, "--json")
    assert told(by_id)["name"] == "Globex"
    assert {acme.get("/api/users/me").status_code, globex.get("/api/users/me").status_code} == {200}


@pytest.mark.parametrize("action", ["suspend", "delete"])
def test_no_answer_is_no(world: World, command: Command, action: str) -> None:
    owner = world.tenant("Acme")
    asked = command("tenants", action, "acme", input="n\n")
    assert asked.exit_code == 1
    assert owner.tenant_id in asked.stderr, "whom it asks about"
    assert command("tenants", action, "acme").exit_code == 1, "nobody answers"
    assert owner.get("/api/users/me").status_code == 200


def test_a_purge_wants_the_name_and_not_just_a_yes(world: World, command: Command) -> None:
    owner = world.tenant("Acme")
    world.operator.delete(f"/api/tenants/{owner.tenant_id}")
    assert command("tenants", "purge", "acme", "--yes").exit_code == 2
    assert command("tenants", "purge", "acme", input="acme\n").exit_code == 1
    assert command("tenants", "purge", "acme", "--yes", "--confirm", "Acm").exit_code == 1
    assert world.record(owner.tenant_id)["status"] == "deleted"


def test_the_operators_own_tenant_is_left_alone(world: World, command: Command) -> None:
    for action in ("suspend", "delete"):
        assert "own tenant" in failed(command("tenants", action, "operators", "--yes"))
