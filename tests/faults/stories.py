"""Operations one after another, each killed at each of its steps, until all is as it was."""

import logging
import os
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from flask_openapi3 import OpenAPI

from multitenant.errors import DomainError
from multitenant.extensions import Platform, platform_of
from tests.faults.budget import LONG
from tests.faults.deployment import Deployment
from tests.faults.killing import Do, Step, Victim
from tests.support import User

logger = logging.getLogger(__name__)

BOUNDED_STEPS = 6
COMMIT = "commitTransaction"


@dataclass(frozen=True)
class Operation:
    """Something that is done entirely or not at all, and can be asked for again."""

    name: str
    do: Do
    prepare: Callable[[], object] = lambda: None
    """What must be known, or have happened, before it; done in this process, before each kill."""
    gradual: bool = False
    """Whether it is done bit by bit: what is half done is whole, and gone on with."""
    once: bool = False
    """Whether it would be done once more when it is asked for again."""
    lags: frozenset[str] = frozenset()
    """Where no transaction spans all of it: the parts of the picture that may not be as before, nor
    as after. `sessions` are always among them when nobody asks again before gc is run."""
    rare: bool = False
    """Whether it is killed in the long run only: it is much like another one."""


@dataclass
class _Chapter:
    """An operation, what it changes, and where it is still to be killed."""

    operation: Operation
    before: Any
    after: Any
    steps: list[Step]
    queue: list[Step] = field(default_factory=list)


class Story:
    """A row of operations that leads back to where it began."""

    def __init__(self, deployment: Deployment, victim: Victim, *operations: Operation) -> None:
        self._deployment = deployment
        self._victim = victim
        self._operations = operations
        self._seed = int(os.environ.get("FAULTS_SEED", time.time_ns() % 1_000_000))
        self._random = random.Random(self._seed)
        self.kills = 0

    def tell(self, bounded: int = BOUNDED_STEPS) -> None:
        """Kill each operation at `bounded` of its steps, at all of them in the long run."""
        chapters = [self._discover(operation) for operation in self._operations]
        assert chapters[0].before["tenants"] == chapters[-1].after["tenants"], "no way back"
        for chapter in chapters:
            chapter.queue = self._choose(chapter.steps, bounded)
        planned = sum(len(chapter.queue) for chapter in chapters)
        while any(chapter.queue for chapter in chapters):
            for chapter in chapters:
                self._go_through(chapter)
        taken = ", ".join(f"{it.operation.name} {len(it.steps)}" for it in chapters)
        logger.warning("%d kills; steps: %s", self.kills, taken)
        # Threads do not always take the same steps.
        assert self.kills >= planned / 2, "too few of them came to the step that was meant"

    def _discover(self, operation: Operation) -> _Chapter:
        """Do it in a process that is killed as soon as it has said so: it is done."""
        self._begin(operation)
        before = self._deployment.picture()
        if operation.rare and not LONG:
            operation.do(self._deployment.world.app)
            return _Chapter(operation, before, self._deployment.picture(), [])
        steps = self._victim.steps(operation.do)
        assert steps, f"{operation.name} has no steps"
        after = self._recover(f"{operation.name} was done, and then the process killed")
        assert after != before, f"{operation.name} changes nothing that can be seen"
        return _Chapter(operation, before, after, steps)

    def _begin(self, operation: Operation) -> None:
        operation.prepare()
        self._deployment.log_in()
        self._deployment.begin()

    def _go_through(self, chapter: _Chapter) -> None:
        """Kill the operation until one of its dead processes has done it, or no step is left."""
        operation = chapter.operation
        self._begin(operation)
        seen = chapter.before
        while chapter.queue and seen == chapter.before:
            seen = self._kill(chapter, chapter.queue.pop(0))
        if seen == chapter.after and operation.once:
            return
        what = f"{operation.name}, done again (FAULTS_SEED={self._seed})"
        operation.do(self._deployment.world.app)
        if not chapter.steps:
            return
        lags = operation.lags and operation.lags | {"sessions"}
        assert _without(lags, self._recover(what)) == _without(lags, chapter.after), what

    def _kill(self, chapter: _Chapter, step: Step) -> Any:
        what = f"{chapter.operation.name}, killed {step} (FAULTS_SEED={self._seed})"
        chapter.operation.prepare()
        self._deployment.begin()
        outcome = self._victim.killed(chapter.operation.do, step)
        self.kills += outcome.killed
        if chapter.operation.lags:
            return self._recover_in_parts(chapter, what)
        seen = self._recover(what)
        if outcome.answered:
            assert seen == chapter.after, f"{what}: it was answered, and is lost"
        elif not chapter.operation.gradual and seen != chapter.before:
            assert seen == chapter.after, f"{what}: it is half done"
        return seen

    def _recover_in_parts(self, chapter: _Chapter, what: str) -> Any:
        """Asked for again at once, it is done. Otherwise it is half done to nobody's harm."""
        lags = chapter.operation.lags
        if self._random.random() < 1 / 2:
            self._deployment.restart()
            chapter.operation.do(self._deployment.world.app)
            seen = _without(lags, self._recover(what))
            assert seen == _without(lags, chapter.after), f"{what}, and asked for again"
            return chapter.after
        lags |= {"sessions"}
        seen = _without(lags, self._recover(what))
        before, after = (_without(lags, it) for it in (chapter.before, chapter.after))
        assert seen in (before, after), what
        return chapter.before if seen == before else chapter.after

    def _recover(self, what: str) -> Any:
        self._deployment.restart()
        try:
            self._deployment.collect_garbage()
            self._deployment.ensure_whole()
            return self._deployment.picture()
        except Exception as error:
            error.add_note(what)
            raise

    def _choose(self, steps: Sequence[Step], bounded: int) -> list[Step]:
        """In their order; among them always what matters most: just before the last commit, and
        each commit whose answer nobody hears."""
        if LONG:
            return [*steps]
        commits = [step for step in steps if step.command.startswith(COMMIT)]
        chosen = {*commits[-2:], *(step for step in commits if step.moment == "sent")}
        others = [step for step in steps if step not in chosen]
        chosen |= {*self._random.sample(others, max(0, min(bounded - len(chosen), len(others))))}
        return [step for step in steps if step in chosen]


def _without(parts: frozenset[str], picture: dict[str, Any]) -> dict[str, Any]:
    return {name: part for name, part in picture.items() if name not in parts}


def send(app: OpenAPI, user: User, method: str, path: str, json: Any = None, **headers: str) -> Any:
    """Send a request as the user, to the application of this process. It may be refused: what
    was done before is not done again."""
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    headers["Authorization"] = f"Bearer {user.access}"
    client = app.test_client(use_cookies=False)
    response = client.open(path, method=method, json=json, headers=headers)
    assert response.status_code < 500, response.text
    return response.get_json()["responseObject"]


def perform(work: Callable[[Platform], object]) -> Do:
    """What a command does, which may be refused likewise."""

    def do(app: OpenAPI) -> None:
        try:
            with app.app_context():
                work(platform_of(app))
        except DomainError as refused:
            logger.info("refused: %r", refused)

    return do
