"""Collections and indexes of the first release."""

from multitenant.repositories.model import MongoDatabase
from multitenant.schemas.tenant.todos import TodoDocument
from multitenant.schemas.tenant.users import UserDocument

CREATES = (UserDocument, TodoDocument)


def down(db: MongoDatabase) -> None:
    """Nothing: dropping the first collections would drop the tenant's data."""
