"""To-do items in a tenant's database."""

from multitenant.repositories.resource import Resource
from multitenant.schemas.tenant.todos import TodoDocument

todos = Resource(TodoDocument, "to-do item")
