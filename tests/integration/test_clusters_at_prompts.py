"""`clusters close` and `clusters remove` do what they have asked about, and no more."""

from collections.abc import Callable
from typing import Any

import pytest

from multitenant.embedded import EmbeddedServer
from multitenant.tenancy.actor import Actor
from multitenant.tenancy.operations.cluster_administration import ClusterAdministration
from tests.integration.conftest import Command
from tests.support import World

ACTOR = Actor.on_command_line()
Change = Callable[[ClusterAdministration, str], Any]


def use_and_drain_again(clusters: ClusterAdministration, uri: str) -> None:
    clusters.open("blue", ACTOR)
    clusters.drain("blue", ACTOR)


def replace(clusters: ClusterAdministration, uri: str) -> None:
    clusters.remove("blue", ACTOR)
    clusters.add("blue", uri, {}, ACTOR)
    clusters.drain("blue", ACTOR)


def give_another_uri(clusters: ClusterAdministration, uri: str) -> None:
    clusters.change("blue", ACTOR, uri=uri + "&retryReads=true", capacity={})


@pytest.mark.parametrize("action", ["close", "remove"])
@pytest.mark.parametrize("meanwhile", [use_and_drain_again, replace, give_another_uri])
def test_a_cluster_that_was_changed_meanwhile_stays(
    world: World,
    elsewhere: EmbeddedServer,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
    meanwhile: Change,
    action: str,
) -> None:
    clusters = world.platform.clusters
    clusters.add("blue", elsewhere.uri, {}, ACTOR)
    clusters.drain("blue", ACTOR)
    with monkeypatch.context() as patched:
        patched.setattr("click.confirm", lambda *_, **__: meanwhile(clusters, elsewhere.uri))
        result = command("clusters", action, "blue")
    assert result.exit_code != 0
    assert "changed meanwhile" in f"{result.output}{result.exception}"
    assert clusters.get("blue")["state"] == "draining"
    assert command("clusters", action, "blue", "--yes").exit_code == 0
