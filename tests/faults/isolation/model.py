"""All that is true while an example runs. A tenant that is being changed has several states that
count: any answer must be right in one of them, and must never show anything of another tenant."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product

from tests.faults.isolation.answers import done, is_as, refused
from tests.faults.isolation.client import Answer, Request, Token
from tests.faults.isolation.states import OPERATORS, Tenant, View, by_id


class Model:
    """All tenants as they are, every token that was ever issued, and whose each id is."""

    def __init__(self, operators: Tenant) -> None:
        self.tenants: dict[str, Tenant] = {OPERATORS: operators}
        self.tokens: dict[str, list[Token]] = {OPERATORS: []}
        self.owners_of_ids: dict[str, str] = {}
        self.options: dict[str, Sequence[Tenant]] = {}
        """The states that count of the tenants that are being changed, the latest first."""
        self.meanwhile: dict[str, dict[str, str]] = {}
        """The to-dos that are being added, of each tenant."""

    def made(self) -> list[str]:
        """The tenants that there are, or were."""
        return [key for key in self.tenants if key != OPERATORS]

    def key_of(self, token: Token) -> str:
        tenant = by_id(self.tenants, token.tenant_id)
        assert tenant, "a token of a tenant that was never made"
        return tenant.key

    def keep(self, *tokens: Token) -> None:
        for token in tokens:
            self.tokens.setdefault(self.key_of(token), []).append(token)

    def own(self, key: str, *ids: str) -> None:
        self.owners_of_ids |= dict.fromkeys(ids, key)

    def is_right(self, request: Request, answer: Answer, *, now: bool = False) -> bool:
        """Whether the answer is right in one of the states that count; `now`: in the latest."""
        views = [self.tenants] if now else list(self._views(request))
        added = self._added(request)
        refusals = [refused(view, request) for view in views]
        if any(refusal and is_as(refusal, answer) for refusal in refusals):
            return True
        return None in refusals and any(is_as(done(view, request, added), answer) for view in views)

    def foreign(self, request: Request, answer: Answer) -> str | None:
        """What the answer has of another tenant than the one that asked (or has logged in)."""
        if request.token:
            key = self.key_of(request.token)
        elif answer.status == 200:
            key = self.owners_of_ids.get(answer.object["tenantId"], "")
        else:
            key = ""
        ids = {id_ for id_ in answer.ids() if self.owners_of_ids.get(id_) != key}
        marks = {one.mark for one in self.tenants.values() if one.mark in answer.text}
        if ids or marks - {self.tenants[key].mark if key else None}:
            return f"{sorted(ids)} {sorted(marks)}"
        return None

    def _added(self, request: Request) -> Mapping[str, str]:
        if request.token is None:
            return {}
        return self.meanwhile.get(self.key_of(request.token), {})

    def _views(self, request: Request) -> Iterator[View]:
        """All combinations of the states that the request may have met, the latest first."""
        keys = [key for key in self.options if self._concerns(key, request)]
        for states in product(*(self.options[key] for key in keys)):
            yield {**self.tenants, **dict(zip(keys, states, strict=True))}

    def _concerns(self, key: str, request: Request) -> bool:
        if request.kind == "login" or request.host:
            return True
        return key == OPERATORS or bool(request.token and self.key_of(request.token) == key)
