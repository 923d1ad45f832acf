"""Documents are looked up by their ids in queries that MongoDB takes."""

from bson.raw_bson import RawBSONDocument

from multitenant.tenancy.contents.raw_documents import IDS, in_id_batches, with_ids

LARGEST_QUERY = 16 * 2**20


def test_ids_of_any_size_fit_into_a_query() -> None:
    ids = [b"\x02" + (size + 1).to_bytes(4, "little") + b"x" * size + b"\0" for size in (10, 10**6)]
    many = [one for one in ids for _ in range(IDS + 1)]
    batches = list(in_id_batches(many))
    assert [one for batch in batches for one in batch] == many
    assert max(map(len, batches)) == IDS
    queries: list[RawBSONDocument] = [with_ids(batch) for batch in batches]
    assert max(len(query.raw) for query in queries) < LARGEST_QUERY


def test_an_id_that_is_larger_than_a_batch_comes_alone() -> None:
    large = b"x" * (9 * 2**20)
    assert list(in_id_batches([b"a", large, b"b"])) == [[b"a"], [large], [b"b"]]
    assert list(in_id_batches([])) == []
