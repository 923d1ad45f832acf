"""What happens to tenants, for Hypothesis to choose from."""

from collections.abc import Sequence
from random import Random
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, initialize, multiple, precondition, rule

from multitenant.errors import Conflict, NotFound
from multitenant.tenancy.operations.moving import Moved
from tests.faults.isolation.changes import Change
from tests.faults.isolation.questions import WRONG_PASSWORD
from tests.faults.isolation.stage import Stage
from tests.faults.isolation.states import Tenant
from tests.support import PASSWORD

MAX_TENANTS = 5

index = st.integers(0, 5)
tenants: Bundle[str] = Bundle("tenants")
clusters = st.sampled_from(["default", "blue"])
isolations = st.sampled_from(["shared", "dedicated"])
roles = st.sampled_from(["member", "admin", "owner"])
emails = st.sampled_from(["own", "shared"])
passwords = st.sampled_from(["own", "common", None])
ROTATE: tuple[str, Any] = ("credentials", "new")
FIELDS: list[tuple[str, Any]] = [
    ("isolation", "dedicated"),
    ("isolation", "shared"),
    ("modules", ["employees"]),
    ("modules", None),
    ("userLimit", 1),
    ("userLimit", None),
    ROTATE,
]
TRANSITIONS_TRIED = ["suspend", "activate", "delete", "restore", "activate", "restore"]
USER_CHANGES = ["member", "admin", "owner", "disabled", "active", "remove", "invite"]
OWN_AFFAIRS = [
    "log out",
    "change password",
    "give a wrong password",
    "put setting",
    "delete to-do",
]
later = st.sampled_from([False, True, True])
"""Whether it is done together with what comes next."""


class Machine(Stage):
    """The rules."""

    # What operators do

    @initialize(target=tenants, salt=st.integers(0, 2**16), cluster=clusters)
    def begin(self, salt: int, cluster: str) -> Any:
        self.random = Random(salt)
        keys = [
            self._add("shared", "default", 0, 0, "shared", "common", None),
            self._add("dedicated", cluster, 1, 1, "shared", "common", None),
            self._add("shared", "blue", 2, None, "own", "common", 2),
        ]
        self._flush()
        for number, key in enumerate(key for key in keys if key):
            for role in ("admin", "member")[number:]:
                if token := self._good_token(self.model.tenants[key]):
                    email = self.naming.email(self.model.tenants[key], role, "own")
                    self._run(self.users.add(token, email, role, PASSWORD))
        return multiple(*(key for key in keys if key))

    @precondition(lambda self: self._living() < MAX_TENANTS)
    @rule(
        target=tenants,
        isolation=isolations,
        cluster=clusters,
        name=index,
        subdomain=st.none() | index,
        email=emails,
        password=passwords,
        limit=st.none() | st.integers(1, 3),
        wait=later,
    )
    def add(
        self,
        isolation: str,
        cluster: str,
        name: int,
        subdomain: int | None,
        email: str,
        password: str | None,
        limit: int | None,
        wait: bool,
    ) -> Any:
        self._ready(takes_names=True)
        key = self._add(isolation, cluster, name, subdomain, email, password, limit)
        self._go_on(wait)
        return key or multiple()

    @rule(
        tenant=tenants,
        what=st.sampled_from(["name", "subdomain", "domains"]),
        number=st.none() | index,
        wait=later,
    )
    def change_names(self, tenant: str, what: str, number: int | None, wait: bool) -> None:
        self._ready(tenant, takes_names=True)
        names: dict[str, Any] = {
            "name": self.naming.name(number or 0),
            "subdomain": self.naming.subdomain(number),
            "domains": self.naming.domains(number),
        }
        self._plan(self.operator.change(tenant, what, names[what]), wait)

    @rule(tenant=tenants, what=st.sampled_from(FIELDS), wait=later)
    def change(self, tenant: str, what: tuple[str, Any], wait: bool) -> None:
        self._ready(tenant)
        if what == ROTATE:
            self._plan(self.operator.rotate(tenant), wait)
        else:
            self._plan(self.operator.change(tenant, *what), wait)

    @rule(
        tenant=tenants,
        action=st.sampled_from(TRANSITIONS_TRIED),
        wait=later,
    )
    def transition(self, tenant: str, action: str, wait: bool) -> None:
        self._ready(tenant)
        self._plan(self.operator.transition(tenant, action), wait)

    @rule(tenant=tenants, confirmed=st.booleans(), wait=later)
    def purge(self, tenant: str, confirmed: bool, wait: bool) -> None:
        self._ready(tenant)
        self._plan(self.operator.purge(tenant, confirmed=confirmed), wait)

    @rule(tenant=tenants, confirmed=st.booleans(), wait=later)
    def move(self, tenant: str, confirmed: bool, wait: bool) -> None:
        """To the other cluster; `confirmed`: then drop the database that it had."""
        self._ready(tenant)
        before = self.model.tenants[tenant]
        to = "blue" if before.cluster == "default" else "default"

        def act() -> Any:
            moved = self.platform.move(before.id, to)
            if confirmed and isinstance(moved, Moved):
                assert moved.kept_db_name in self.platform.drop_kept(before.id)
            return moved

        def finish(result: Any) -> Sequence[Tenant]:
            if before.status in ("deleted", "gone"):
                assert isinstance(result, Conflict if before.status == "deleted" else NotFound)
                return []
            assert isinstance(result, Moved), f"{tenant} was not moved: {result!r}"
            assert not result.late
            after, paused = before.copy(), before.copy()
            after.cluster, paused.status = to, "paused"
            return [after, paused] if before.status == "active" else [after]

        self._plan(Change(tenant, f"move {tenant} to {to}", act, finish), wait)

    @rule(tenant=tenants, user=index, new_session=st.booleans(), wait=later)
    def impersonate(self, tenant: str, user: int, new_session: bool, wait: bool) -> None:
        self._ready(tenant)
        if new_session:
            self.sessions.append(self.platform.log_in_operator()[0])
            self.model.keep(self.sessions[-1])
        by = self.sessions[-1]
        self._plan(self.operator.impersonate(tenant, self._user(tenant, user), by), wait)

    @precondition(lambda self: len(self.sessions) > 1)
    @rule()
    def operator_logs_out(self) -> None:
        """What they did as somebody else ends with their own session."""
        self._flush()
        self._plan(self.users.log_out(self.sessions[-1]), wait=False)

    # What users do

    @rule(
        tenant=tenants,
        by=index,
        email=emails,
        role=roles,
        password=passwords,
        wait=later,
    )
    def add_user(
        self, tenant: str, by: int, email: str, role: str, password: str | None, wait: bool
    ) -> None:
        self._ready(tenant)
        if token := self._manager(tenant, by):
            known = self.model.tenants[tenant]
            address = self.naming.email(known, f"{role}{len(known.users)}", email)
            self._plan(
                self.users.add(token, address, role, self.naming.password(known, password)), wait
            )

    @rule(tenant=tenants, by=index, user=index, what=st.sampled_from(USER_CHANGES), wait=later)
    def change_user(self, tenant: str, by: int, user: int, what: str, wait: bool) -> None:
        self._ready(tenant)
        token = self._manager(tenant, by)
        if token is None:
            return
        user_id = self._user(tenant, user)
        if what == "remove":
            change = self.users.remove(token, user_id)
        elif what == "invite":
            change = self.users.invite_again(token, user_id)
        else:
            field = "status" if what in ("disabled", "active") else "role"
            change = self.users.change(token, user_id, field, what)
        self._plan(change, wait)

    @rule(tenant=tenants, which=index, wait=later)
    def accept_invitation(self, tenant: str, which: int, wait: bool) -> None:
        self._ready(tenant)
        if token := self._token(tenant, which, "invitation"):
            known = self.model.tenants[tenant]
            password = f"{known.mark} accepted"
            self.questions.passwords.append(password)
            self._plan(self.users.accept_invitation(token, password), wait)

    @rule(tenant=tenants, which=index, what=st.sampled_from(OWN_AFFAIRS), wait=later)
    def act_as_user(self, tenant: str, which: int, what: str, wait: bool) -> None:
        self._ready(tenant)
        token = self._token(tenant, which, "access")
        if token is None:
            return
        known = self.model.tenants[tenant]
        number = len(self.questions.passwords)
        if what == "log out":
            change = self.users.log_out(token)
        elif what == "put setting":
            change = self.users.put_setting(token, f"key{which}", f"{known.mark} {number}")
        elif what == "delete to-do":
            change = self.users.delete_todo(token, min(known.todos, default=known.id))
        else:
            user = known.users.get(token.user_id)
            right = user and user.password and what == "change password"
            current = user.password if user and user.password and right else WRONG_PASSWORD
            new = f"{token.user_id} {number}"
            self.questions.passwords.append(new)
            change = self.users.change_password(token, current, new)
        self._plan(change, wait)

    @rule(tenant=tenants, which=index, times=st.integers(1, 3), wait=later)
    def refresh(self, tenant: str, which: int, times: int, wait: bool) -> None:
        self._ready(tenant)
        if token := self._token(tenant, which, "refresh"):
            self._plan(self.users.refresh(token, self.platform.together, times), wait)

    def teardown(self) -> None:
        """Ask while nothing changes, and remove every tenant; then nothing opens anything."""
        if self.broken or not self.made:
            self._sweep()
            return
        self._flush()
        self._happen([])
        self._happen([self.operator.transition(key, "delete") for key in self._there()])
        self._happen([self.operator.purge(key, confirmed=True) for key in self._there()])

    def _there(self) -> list[str]:
        return [key for key in self.model.made() if self.model.tenants[key].exists]
