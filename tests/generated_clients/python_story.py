"""The same story, told with the client that openapi-python-client makes."""

import sys

import httpx
from generated_api import AuthenticatedClient, Client
from generated_api.api.sessions import login, logout
from generated_api.api.tenants import add_tenant, get_tenant
from generated_api.api.to_do_list import add_todo, change_todo, get_todo, list_todos
from generated_api.api.users import me
from generated_api.models import (
    AddedTenantAnswerCreatedEnvelope,
    Error,
    ErrorCode,
    Login,
    NewTenant,
    NewTodo,
    SessionAnswerEnvelope,
    TenantAnswerEnvelope,
    TenantStatus,
    TodoAnswerCreatedEnvelope,
    TodoAnswerEnvelope,
    TodoChanges,
    TodoPageEnvelope,
)

URL, EMAIL, PASSWORD, NAME = sys.argv[1:]
TIMEOUT = httpx.Timeout(60)
OWNER = f"owner@{NAME.lower()}.example"
OWNERS_PASSWORD = "owner has a password"


def log_in(email: str, password: str) -> AuthenticatedClient:
    """A client with the user's token."""
    body = Login(email=email, password=password)
    answer = login.sync(client=Client(URL, timeout=TIMEOUT), body=body)
    assert isinstance(answer, SessionAnswerEnvelope), answer
    token = answer.response_object.access_token
    assert isinstance(token, str)
    return AuthenticatedClient(URL, token, timeout=TIMEOUT)


def code_of(answer: object) -> ErrorCode:
    """Why a request was refused."""
    assert isinstance(answer, Error), answer
    return answer.response_object.code


operator = log_in(EMAIL, PASSWORD)
new = NewTenant(name=NAME, email=OWNER, password=OWNERS_PASSWORD)
added = add_tenant.sync(client=operator, body=new)
assert isinstance(added, AddedTenantAnswerCreatedEnvelope), added
tenant_id = added.response_object.tenant_id
shown = get_tenant.sync(tenant_id, client=operator)
assert isinstance(shown, TenantAnswerEnvelope), shown
assert shown.response_object.status is TenantStatus.ACTIVE

client = log_in(OWNER, OWNERS_PASSWORD)
made = add_todo.sync(client=client, body=NewTodo(title="Milk"))
assert isinstance(made, TodoAnswerCreatedEnvelope), made
todo = made.response_object
changed = change_todo.sync(todo.id, client=client, body=TodoChanges(done=False))
assert isinstance(changed, TodoAnswerEnvelope), changed
assert changed.response_object.title == "Milk"
listed = list_todos.sync(client=client, limit=5)
assert isinstance(listed, TodoPageEnvelope), listed
assert [item.id for item in listed.response_object.items] == [todo.id]

refused = add_todo.sync(client=client, body=NewTodo(title=""))
assert code_of(refused) is ErrorCode.VALIDATION_FAILED
assert code_of(get_todo.sync(tenant_id, client=client)) is ErrorCode.NOT_FOUND

logout.sync(client=client)
assert code_of(me.sync(client=client)) is ErrorCode.TOKEN_REVOKED
