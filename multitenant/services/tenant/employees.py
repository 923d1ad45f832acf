"""The rules of employees."""

from bson import ObjectId

from multitenant.repositories.model import MongoDatabase, MongoDocument
from multitenant.repositories.tenant.employees import employees
from multitenant.schemas.paging import Page, PageQuery
from multitenant.schemas.tenant.employees import EmployeeChanges, NewEmployee


def add_employee(db: MongoDatabase, new: NewEmployee) -> MongoDocument:
    """Create an employee; raises AlreadyExists when another one has the email."""
    return employees.insert(db, **dict(new))


def list_employees(db: MongoDatabase, query: PageQuery) -> Page:
    """Return a page of employees, oldest first."""
    return employees.find_page(db, query)


def get_employee(db: MongoDatabase, employee_id: ObjectId) -> MongoDocument:
    """Return the employee; raises NotFound."""
    return employees.get(db, employee_id)


def change_employee(
    db: MongoDatabase, employee_id: ObjectId, changes: EmployeeChanges
) -> MongoDocument:
    """Change what `changes` names and return the employee; raises NotFound and AlreadyExists."""
    return employees.update(db, employee_id, **changes.changes())


def delete_employee(db: MongoDatabase, employee_id: ObjectId) -> MongoDocument:
    """Delete the employee and return them as they were; raises NotFound."""
    return employees.delete(db, employee_id)
