"""The rules of a tenant's users that concern its own database only."""

from bson import ObjectId

from multitenant.errors import NotFound, TokenRevoked
from multitenant.repositories.model import MongoDatabase, MongoDocument
from multitenant.repositories.tenant import users as repository
from multitenant.schemas.paging import Page, PageQuery


def list_users(db: MongoDatabase, query: PageQuery) -> Page:
    """Return a page of users, oldest first."""
    return repository.list_users(db, query)


def get_user(db: MongoDatabase, user_id: ObjectId) -> MongoDocument:
    """Return the user; raises NotFound."""
    user = repository.find_user(db, user_id)
    if user is None:
        raise NotFound("There is no such user")
    return user


def get_oneself(db: MongoDatabase, user_id: ObjectId) -> MongoDocument:
    """Return the user whose token this is; raises TokenRevoked when they were just removed."""
    user = repository.find_user(db, user_id)
    if user is None:
        raise TokenRevoked("The user of this token no longer exists")
    return user
