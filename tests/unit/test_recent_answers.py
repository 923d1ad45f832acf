"""Answers that are kept while they are certainly good."""

from collections.abc import Iterable

import pytest

from multitenant.tenancy.routing.recent_answers import RecentAnswers, nobody_vouches


class Asked:
    """Answers with its own count, and notes what it was asked for."""

    def __init__(self) -> None:
        self.questions: list[list[str]] = []

    def __call__(self, keys: Iterable[str]) -> dict[str, int]:
        self.questions.append(list(keys))
        return {key: len(self.questions) for key in self.questions[-1]}


def answers(*, size: int = 10, stale_seconds: float = 60) -> RecentAnswers[str, int]:
    return RecentAnswers(size, stale_seconds=stale_seconds, vouches=nobody_vouches)


def test_what_is_not_known_is_asked_for_together() -> None:
    recent, ask = answers(), Asked()
    assert recent.get_all(["a", "b"], ask) == {"a": 1, "b": 1}
    assert recent.get_all(["a", "b"], ask) == {"a": 1, "b": 1}
    assert recent.get_all(["b", "c"], ask) == {"b": 1, "c": 2}
    assert ask.questions == [["a", "b"], ["c"]]


def test_one_key_is_forgotten_and_the_others_are_not() -> None:
    recent, ask = answers(), Asked()
    recent.get_all(["a", "b"], ask)
    recent.forget("a")
    recent.forget("nobody asked for this")
    assert recent.get_all(["a", "b"], ask) == {"a": 2, "b": 1}
    recent.forget()
    assert recent.get_all(["a", "b"], ask) == {"a": 3, "b": 3}


def test_an_old_answer_is_asked_for_again_and_a_young_one_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    monkeypatch.setattr("multitenant.tenancy.routing.recent_answers.time.monotonic", lambda: now)
    recent, ask = answers(stale_seconds=10), Asked()
    recent.get_all(["old"], ask)
    now = 8.0
    recent.get_all(["young"], ask)
    now = 12.0
    assert recent.get_all(["old", "young"], ask) == {"old": 3, "young": 2}


@pytest.mark.parametrize("changed", ["a", None])
def test_an_answer_from_before_a_change_is_not_kept(changed: str | None) -> None:
    recent, ask = answers(), Asked()

    def ask_while_it_changes(keys: list[str]) -> dict[str, int]:
        found = ask(keys)
        recent.forget(changed)
        return found

    assert recent.get_all(["a"], ask_while_it_changes) == {"a": 1}
    assert recent.get_all(["a"], ask) == {"a": 2}


def test_nothing_is_kept_of_a_question_that_failed() -> None:
    recent = answers()

    def fail(_: list[str]) -> dict[str, int]:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        recent.get_all(["a"], fail)
    assert recent.get("a", lambda: 5) == 5
