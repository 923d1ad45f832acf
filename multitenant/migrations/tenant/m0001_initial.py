"""Collections and indexes of the first release."""

from multitenant.repositories.model import Model, MongoDatabase
from multitenant.schemas.tenant.todos import TodoDocument
from multitenant.schemas.tenant.users import UserDocument


def up(db: MongoDatabase) -> None:
    """Create them; may run again."""
    for document in (UserDocument, TodoDocument):
        Model(db, document).ensure_indexes()


def down(db: MongoDatabase) -> None:
    """Nothing: dropping the first collections would drop the tenant's data."""
