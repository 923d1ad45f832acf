"""How the machine does things: several changes at a time, questions meanwhile, and then every
worker is asked until it has followed."""

import time
from collections.abc import Sequence
from random import Random

from bson import ObjectId
from hypothesis.stateful import RuleBasedStateMachine

from tests.faults.isolation.answers import MANAGERS, refused
from tests.faults.isolation.changes import Change, Operator
from tests.faults.isolation.client import Answer, Line, Request, Token
from tests.faults.isolation.model import Model
from tests.faults.isolation.naming import Naming
from tests.faults.isolation.platform import RunningPlatform
from tests.faults.isolation.questions import WRONG_PASSWORD, Questions
from tests.faults.isolation.states import OPERATORS, Tenant, User
from tests.faults.isolation.user_changes import Users
from tests.support import OPERATOR_EMAIL, OPERATOR_PASSWORD

AT_ONCE = 3
"""Tenants that change at the same time."""
BOUND_SECONDS = 30.0
"""Within which all workers must have followed a change. It is promised within one second, on a
machine that does not stall."""

Place = tuple[str, str, str | None]


class Stage(RuleBasedStateMachine):
    """One example: its tenants, what is true of them, and how something happens to them."""

    def __init__(self, platform: RunningPlatform) -> None:
        super().__init__()
        platform.examples += 1
        self.platform = platform
        first = platform.operator
        operators = Tenant(OPERATORS, "no tenant's mark", "operators", id=first.tenant_id)
        operators.users[first.user_id] = User(
            first.user_id, OPERATOR_EMAIL, "owner", "active", OPERATOR_PASSWORD
        )
        self.model = Model(operators)
        self.model.own(OPERATORS, first.tenant_id, first.user_id)
        self.model.keep(first)
        self.sessions = [first]
        self.operator = Operator(self.model, platform.wire.send, first)
        self.users = Users(self.model, platform.wire.send)
        self.questions = Questions(self.model)
        self.naming = Naming(f"ex{platform.examples:05x}", self.questions)
        self.pending: list[Change] = []
        self.random = Random(0)
        self.made = 0
        self.broken = False

    def _add(
        self,
        isolation: str,
        cluster: str,
        name: int,
        subdomain: int | None,
        email: str,
        password: str | None,
        limit: int | None,
    ) -> str | None:
        self.made += 1
        tenant = Tenant(
            f"t{self.made}",
            f"mark{self.platform.examples:05x}{self.made:04x}z",
            self.naming.name(name),
            subdomain=self.naming.subdomain(subdomain),
            isolation=isolation,
            cluster=cluster,
            user_limit=limit,
        )
        address = self.naming.email(tenant, "owner", email)
        change = self.operator.add(tenant, address, self.naming.password(tenant, password))
        if change is None:
            return None
        self.pending.append(change)
        return tenant.key

    def _ready(self, *keys: str, takes_names: bool = False) -> None:
        """Let what was planned happen, where what comes now must know how it ended."""
        if any(
            one.key in keys or one.key == OPERATORS or (takes_names and one.takes_names)
            for one in self.pending
        ):
            self._flush()

    def _plan(self, change: Change, wait: bool) -> None:
        self.pending.append(change)
        self._go_on(wait)

    def _go_on(self, wait: bool) -> None:
        if not wait or len(self.pending) >= AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        planned, self.pending = self.pending, []
        if planned:
            self._happen(planned)

    def _happen(self, changes: list[Change]) -> None:
        try:
            self._do(changes)
        except BaseException as error:
            self.broken = True
            self.platform.failures.append(str(error))
            raise

    def _do(self, changes: list[Change]) -> None:
        """Do them all at once, while questions are asked; then see every worker follow."""
        self.platform.steps += 1
        before = dict(self.model.tenants)
        places = {one.key: self._place(one.key) for one in changes}
        salt = self.random.getrandbits(32)  # how many are asked is a matter of time
        questions = self.questions.some(Random(salt), [one.key for one in changes])
        results, answered = self.platform.at_once([one.act for one in changes], questions)
        ended_at = time.monotonic()
        changed = []
        for change, result in zip(changes, results, strict=True):
            if states := change.finish(result):
                known = before.get(change.key) or _absent(states[0])
                self.model.tenants[change.key] = states[0]
                self.model.options[change.key] = [*states, known]
                changed.append(change)
        for question, answer in answered:
            self._learn(question, answer)
        for question, answer in answered:
            self._judge(question, answer, changes)
        self._keep_todos()
        self._settle(changed, before, ended_at)
        for change in changed:
            self._settle_mongodb_users(change.key, places[change.key])
        self.model.options.clear()
        for change in changed:
            self._furnish(change.key)

    def _learn(self, question: Request, answer: Answer) -> None:
        """Note what an answer has made."""
        if question.kind == "login" and answer.status == 200:
            tokens = (answer.object["accessToken"], answer.object["refreshToken"])
            self.model.keep(*map(Token.read, tokens))
        if question.kind == "add_todo" and answer.status == 201:
            assert question.token
            key = self.model.key_of(question.token)
            self.model.own(key, answer.object["id"])
            added = self.model.meanwhile.setdefault(key, {})
            added[answer.object["id"]] = question.body["title"]

    def _judge(self, question: Request, answer: Answer, changes: Sequence[Change]) -> None:
        meanwhile = f"{question}\nwas answered {answer}\nwhile {[one.what for one in changes]}"
        foreign = self.model.foreign(question, answer)
        assert not foreign, f"{foreign} of another tenant: {meanwhile}"
        assert self.model.is_right(question, answer), f"{meanwhile}\n{self._told(question)}"

    def _settle(self, changes: list[Change], before: dict[str, Tenant], ended_at: float) -> None:
        """Ask every worker until it answers as the tenants are now; what they were may be answered
        for a while, but nothing else."""
        asked = [
            question
            for change in changes
            for question in self.questions.after(self.random, change.key, before)
        ]
        if any(change.key == OPERATORS for change in changes):
            asked += self.questions.of_operator_session(self.sessions.pop().family)

        def ask(line: Line) -> None:
            for question in asked:
                while old_for := self._is_old(line, question, changes, ended_at):
                    self.platform.slowest = max(self.platform.slowest, old_for)
                    time.sleep(0.02)

        self.platform.for_each_worker(ask)

    def _is_old(
        self, line: Line, question: Request, changes: list[Change], ended_at: float
    ) -> float | None:
        """For how long the worker has given an old answer after the changes, in seconds; None
        where it gives a new one."""
        began_at = time.monotonic()
        answer = line.send(question)
        self._judge(question, answer, changes)
        if self.model.is_right(question, answer, now=True):
            return None
        old_for = began_at - ended_at
        assert old_for < BOUND_SECONDS, (
            f"a worker has not followed: {[one.what for one in changes]}\n{question}\n"
            f"is answered {answer}\n{self._told(question)}"
        )
        return max(old_for, 1e-9)

    def _settle_mongodb_users(self, key: str, place: Place | None) -> None:
        """No worker is connected as a MongoDB user whom the tenant has no more."""
        now = self._place(key)
        if now and (now[2] or (place and place[2])):
            self.platform.await_users(*now, seconds=BOUND_SECONDS)
        if place and place[2] and (now is None or now[:2] != place[:2]):
            self.platform.await_users(*place[:2], None, seconds=BOUND_SECONDS)

    def _place(self, key: str) -> Place | None:
        known = self.model.tenants.get(key)
        return self.platform.place(known.id) if known and key != OPERATORS else None

    def _keep_todos(self) -> None:
        for key, added in self.model.meanwhile.items():
            for tenant in (self.model.tenants[key], *self.model.options.get(key, ())):
                tenant.todos |= added
        self.model.meanwhile.clear()

    def _furnish(self, key: str) -> None:
        """Let everybody be logged in, and what every tenant has be there."""
        tenant = self.model.tenants[key]
        if key == OPERATORS or tenant.status != "active":
            return
        for user in tenant.users.values():
            if user.status == "active" and not self._has_good_token(user.id, key):
                self._log_in(tenant, user)
        token = self._good_token(tenant)
        if token and token.role in MANAGERS and "mark" not in tenant.settings:
            self._run(self.users.put_setting(token, "mark", tenant.mark))
        if token and len(tenant.todos) > 1 and tenant.modules is None:
            page = Request(kind="some_todos", path="/api/to-do-list?limit=1", token=token)
            self.questions.cursors[key] = self.platform.wire.send(page).object["nextCursor"]

    def _run(self, change: Change) -> None:
        states = change.finish(change.act())
        if states:
            self.model.tenants[change.key] = states[0]

    def _log_in(self, tenant: Tenant, user: User) -> None:
        question = self.questions.log_in(tenant, user.email, user.password or WRONG_PASSWORD)
        answer = self.platform.wire.send(question)
        self._learn(question, answer)
        self._judge(question, answer, [])

    def _good_token(self, tenant: Tenant) -> Token | None:
        """The newest one that opens the tenant, a manager's if there is one."""
        good = self._good_tokens(tenant.key)
        return next((one for one in good if one.role in MANAGERS), good[0] if good else None)

    def _has_good_token(self, user_id: str, key: str) -> bool:
        return any(token.user_id == user_id for token in self._good_tokens(key))

    def _good_tokens(self, key: str) -> list[Token]:
        return [
            token
            for token in reversed(self.model.tokens.get(key, []))
            if token.type == "access"
            and refused(self.model.tenants, self.questions.me(token)) is None
        ]

    def _manager(self, key: str, which: int) -> Token | None:
        """One who may manage users, where `which` is 0; else whoever."""
        if which < 3 and (good := self._good_token(self.model.tenants[key])):
            return good
        return self._token(key, which, "access")

    def _token(self, key: str, which: int, kind: str) -> Token | None:
        found = [one for one in self.model.tokens.get(key, ()) if one.type == kind]
        return found[-1 - which % len(found)] if found else None

    def _user(self, key: str, which: int) -> str:
        ids = sorted(self.model.tenants[key].users)
        return ids[-1 - which % len(ids)] if ids else str(ObjectId())

    def _living(self) -> int:
        return sum(one.exists for one in self.model.tenants.values()) - 1 + len(self.pending)

    def _told(self, question: Request) -> str:
        """The states that count, for whoever reads of a failure."""
        keys = [self.model.key_of(question.token)] if question.token else self.model.made()
        states = [
            state
            for key in keys
            for state in self.model.options.get(key, [self.model.tenants[key]])
        ]
        hosts = {one.key: one.hosts() for one in self.model.tenants.values()}
        return "\n".join([f"hosts: {hosts}", *map(str, states)])

    def _sweep(self) -> None:
        """Remove what a failed example has left, whatever state it is in."""
        for key in self.model.made():
            path = f"/api/tenants/{self.model.tenants[key].id}"
            for method, where, body in (
                ("DELETE", path, None),
                ("POST", f"{path}/purge", {"confirm": self.model.tenants[key].name}),
            ):
                request = self.operator._request(method, where, body)
                self.platform.wire.send(request)


def _absent(tenant: Tenant) -> Tenant:
    """The tenant before it was added."""
    before = tenant.copy()
    before.status, before.users = "gone", {}
    return before
