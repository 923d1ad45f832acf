"""What tenants and users of an example are called: few names, so that they are often taken, which
no other example has."""

from tests.faults.isolation.questions import Questions
from tests.faults.isolation.states import BASE_DOMAIN, Tenant
from tests.support import PASSWORD


class Naming:
    """Names by number; the questions learn of those that may be asked about."""

    def __init__(self, example: str, questions: Questions) -> None:
        self._example = example
        self._questions = questions

    def name(self, number: int) -> str:
        return f"{self._example} name {number}"

    def subdomain(self, number: int | None) -> str | None:
        if number is None:
            return None
        label = f"{self._example}s{number}"
        self._note_host(f"{label}.{BASE_DOMAIN}")
        return label

    def domains(self, number: int | None) -> list[str] | None:
        if number is None:
            return None
        domain = f"d{number}.{self._example}.example"
        self._note_host(domain)
        return [domain]

    def email(self, tenant: Tenant, who: str, kind: str) -> str:
        """`shared`: with users of other tenants."""
        if kind == "shared":
            return f"shared@{self._example}.example"
        return f"{who}@{tenant.mark}.example"

    def password(self, tenant: Tenant, kind: str | None) -> str | None:
        """`common`: to many tenants. Without a kind there is none: they are invited."""
        if kind is None:
            return None
        password = PASSWORD if kind == "common" else f"{tenant.mark} password"
        if password not in self._questions.passwords:
            self._questions.passwords.append(password)
        return password

    def _note_host(self, host: str) -> None:
        if host not in self._questions.hosts:
            self._questions.hosts.append(host)
