"""/api/posts and the comments on them."""

from typing import Any

import pytest
from bson import ObjectId

from tests.support import User, World, answer, refusal

POSTS = "/api/posts"
SHOWN = 10  # comments, according to docs/api.md


def write(user: User, **fields: Any) -> Any:
    return answer(user.post(POSTS, {"title": "Title", "content": "Content", **fields}))


def comment(user: User, post: Any, content: str = "So it is") -> Any:
    return answer(user.post(f"{POSTS}/{post['id']}/comments", {"content": content}))


def listed(user: User, query: str = "") -> list[str]:
    return [post["id"] for post in answer(user.get(POSTS + query))["items"]]


def test_a_post_is_written_read_and_changed(world: World) -> None:
    owner = world.tenant("Acme")
    post = write(owner, title=" Anvils ", content="  two\nlines\t")
    assert post["title"] == "Anvils"
    assert post["content"] == "  two\nlines\t", "text is kept as it was written"
    assert (post["published"], post["authorId"], post["deletedAt"]) == (False, owner.user_id, None)
    assert answer(owner.get(f"{POSTS}/{post['id']}")) == post

    changed = answer(owner.patch(f"{POSTS}/{post['id']}", {"published": True}))
    assert changed == {**post, "published": True, "updatedAt": changed["updatedAt"]}
    assert changed["updatedAt"] >= post["updatedAt"]


def test_published_posts_have_a_list_of_their_own(world: World) -> None:
    owner = world.tenant("Acme")
    draft, public, gone = write(owner), write(owner, published=True), write(owner, published=True)
    owner.delete(f"{POSTS}/{gone['id']}")
    assert listed(owner) == [draft["id"], public["id"]]
    assert listed(owner, "/published") == [public["id"]]


def test_a_deleted_post_is_gone_until_it_is_restored(world: World) -> None:
    owner = world.tenant("Acme")
    post = write(owner)
    answered = comment(owner, post)
    path = f"{POSTS}/{post['id']}"

    deleted = answer(owner.delete(path))
    assert deleted["deletedAt"]
    assert answer(owner.delete(path)) == deleted, "deleting again changes nothing"
    one = f"{path}/comments/{answered['id']}"
    refusal(owner.get(path), 404, "not_found")
    refusal(owner.patch(path, {"title": "x"}), 404, "not_found")
    refusal(owner.get(f"{path}/comments"), 404, "not_found")
    refusal(owner.post(f"{path}/comments", {"content": "x"}), 404, "not_found")
    refusal(owner.get(one), 404, "not_found")
    refusal(owner.delete(one), 404, "not_found")
    assert listed(owner) == []

    restored = answer(owner.post(f"{path}/restore"))
    assert restored == {**post, "updatedAt": restored["updatedAt"]}
    assert answer(owner.post(f"{path}/restore")) == restored, "restoring again changes nothing"
    assert listed(owner) == [post["id"]]
    assert answer(owner.get(one)) == answered


def test_deleted_posts_are_listed_to_owners_and_admins_who_ask(world: World) -> None:
    owner = world.tenant("Acme")
    admin, member = world.colleague(owner, "admin"), world.colleague(owner, "member")
    kept, deleted = write(member), write(member)
    member.delete(f"{POSTS}/{deleted['id']}")

    for user in (owner, admin):
        assert listed(user) == [kept["id"]]
        assert listed(user, "?includeDeleted=true") == [kept["id"], deleted["id"]]
        assert listed(user, "?includeDeleted=true&limit=1") == [kept["id"]]
    refusal(member.get(f"{POSTS}?includeDeleted=true"), 403, "role_required")
    assert listed(member, "?includeDeleted=false") == [kept["id"]]


def test_a_post_is_changed_by_its_author_an_owner_or_an_admin_only(world: World) -> None:
    owner = world.tenant("Acme")
    admin, author, other = (world.colleague(owner, role) for role in ("admin", "member", "member"))
    post = write(author)
    path = f"{POSTS}/{post['id']}"

    refusal(other.patch(path, {"title": "x"}), 403, "role_required")
    refusal(other.delete(path), 403, "role_required")
    assert answer(other.get(path)) == post
    for user in (author, owner, admin):
        assert user.patch(path, {"title": "y"}).status_code == 200
        assert user.delete(path).status_code == 200
        refusal(other.post(f"{path}/restore"), 403, "role_required")
        assert user.post(f"{path}/restore").status_code == 200


def test_comments_are_written_by_anybody_and_deleted_by_their_author_or_a_moderator(
    world: World,
) -> None:
    owner = world.tenant("Acme")
    author, other = world.colleague(owner, "member"), world.colleague(owner, "member")
    post = write(owner)
    path = f"{POSTS}/{post['id']}/comments"
    first, second = comment(author, post), comment(author, post)
    assert set(first) == {"id", "postId", "authorId", "content", "createdAt"}
    assert (first["postId"], first["authorId"]) == (post["id"], author.user_id)
    assert answer(other.get(f"{path}/{first['id']}")) == first

    refusal(other.delete(f"{path}/{first['id']}"), 403, "role_required")
    assert answer(author.delete(f"{path}/{first['id']}")) == first
    refusal(author.get(f"{path}/{first['id']}"), 404, "not_found")
    assert answer(owner.delete(f"{path}/{second['id']}")) == second
    assert answer(owner.get(path)) == {"items": [], "nextCursor": None}


def test_a_comment_is_found_under_its_own_post_only(world: World) -> None:
    owner = world.tenant("Acme")
    post, other = write(owner), write(owner)
    written = comment(owner, post)
    for method in ("GET", "DELETE"):
        path = f"{POSTS}/{other['id']}/comments/{written['id']}"
        refusal(owner.send(method, path), 404, "not_found")
    assert answer(owner.get(f"{POSTS}/{other['id']}/comments"))["items"] == []


def test_a_post_shows_its_first_comments_and_where_the_rest_is(world: World) -> None:
    owner = world.tenant("Acme")
    post, silent = write(owner), write(owner)
    written = [comment(owner, post, f"comment {n}") for n in range(SHOWN + 3)]

    shown = answer(owner.get(f"{POSTS}/{post['id']}?include=comments"))
    assert shown["comments"]["items"] == written[:SHOWN]
    rest = f"{POSTS}/{post['id']}/comments?cursor={shown['comments']['nextCursor']}"
    assert answer(owner.get(rest)) == {"items": written[SHOWN:], "nextCursor": None}

    alone = answer(owner.get(f"{POSTS}/{silent['id']}?include=comments"))
    assert alone == {**silent, "comments": {"items": [], "nextCursor": None}}
    assert "comments" not in answer(owner.get(f"{POSTS}/{post['id']}"))


@pytest.mark.parametrize("path", [POSTS, f"{POSTS}/published"])
def test_a_list_with_comments_takes_one_query_for_all_of_them(world: World, path: str) -> None:
    owner = world.tenant("Acme")
    posts = [write(owner, published=True) for _ in range(4)]
    written = {post["id"]: [comment(owner, post)] for post in posts[1:]}
    world.recorder.commands.clear()

    items = answer(owner.get(f"{path}?include=comments"))["items"]

    assert [post["comments"]["items"] for post in items] == [
        written.get(post["id"], []) for post in posts
    ]
    tenant_db = world.record(owner.tenant_id)["dbName"]
    sent = [name for database, name, _ in world.recorder.commands if database == tenant_db]
    assert sent == ["find", "aggregate"]


def test_what_else_to_include_is_refused(world: World) -> None:
    owner = world.tenant("Acme")
    for path in (POSTS, f"{POSTS}/published", f"{POSTS}/{ObjectId()}"):
        details = refusal(owner.get(f"{path}?include=author"), 422, "validation_failed")
        assert details["incorrectField"] == "include"


def test_lists_of_posts_and_the_comments_shown_are_read_from_an_index(world: World) -> None:
    """MongoDB neither sorts in memory nor reads more than it answers."""
    owner = world.tenant("Acme")
    for number in range(9):
        post = write(owner, published=number % 3 > 0)
        for _ in range(SHOWN + 5):
            comment(owner, post)
        if number % 3 == 2:
            owner.delete(f"{POSTS}/{post['id']}")
    db = world.db_of(owner.tenant_id)
    world.recorder.commands.clear()
    for query in (
        "?limit=2",
        "/published?limit=2&include=comments",
        "?limit=2&includeDeleted=true",
    ):
        assert owner.get(POSTS + query).status_code == 200

    explained = 0
    for database, name, command in world.recorder.commands:
        if database == db.name and name in ("find", "aggregate"):
            options = ("lsid", "maxTimeMS", "$clusterTime", "$db", "$readPreference")
            wanted = {key: value for key, value in command.items() if key not in options}
            plan = db.command("explain", wanted, verbosity="executionStats")
            text = str(plan)
            assert "'COLLSCAN'" not in text
            assert "'stage': 'SORT'" not in text
            if name == "find":
                assert plan["executionStats"]["totalDocsExamined"] == 2 + 1
            else:
                assert plan["stages"][-1]["totalDocsExamined"] == 2 * (SHOWN + 1)
            explained += 1
    assert explained == 4
