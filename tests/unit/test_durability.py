"""Which write concern an operation of the platform's clients has."""

from pymongo.write_concern import WriteConcern

from multitenant.repositories.durability import MAJORITY, left_to_transaction
from multitenant.tenancy.deployments.steady_client import SteadyClient


def test_whatever_is_written_waits_for_a_majority_but_in_a_transaction() -> None:
    """Wherever the client, the database and the collection were made."""
    with SteadyClient("mongodb://127.0.0.1:1/?w=1", connect=False) as client:
        outside = [client, client["db"], client["db"]["todos"]]
        weak = client["db"].get_collection("counts", write_concern=WriteConcern(1))
        assert {one.write_concern.document.get("w") for one in outside} == {"majority"}
        assert weak.write_concern == WriteConcern(1)
        with left_to_transaction():
            inside = [client["db"], client["db"]["todos"]]
            for one in (*outside, *inside, weak):
                assert one.write_concern.is_server_default
        for one in (*outside, *inside):
            assert one.write_concern == MAJORITY
