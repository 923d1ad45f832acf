"""Employees."""

from flask import Response
from flask_openapi3 import APIBlueprint, Tag

from multitenant.controllers.paging import answer_page
from multitenant.middleware.access import in_module
from multitenant.middleware.envelope import answer
from multitenant.middleware.request_context import current_db
from multitenant.openapi import refuses
from multitenant.schemas.answers import created, ok, page_of
from multitenant.schemas.paging import PageQuery
from multitenant.schemas.payload import IdPath
from multitenant.schemas.tenant.employees import EmployeeAnswer, EmployeeChanges, NewEmployee
from multitenant.services.tenant import employees as service

blueprint = in_module(
    "employees",
    APIBlueprint(
        "employees", __name__, url_prefix="/api/employees", abp_tags=[Tag(name="Employees")]
    ),
)


@blueprint.get("", responses=page_of(EmployeeAnswer))
def list_employees(query: PageQuery) -> Response:
    """List the employees."""
    return answer_page(service.list_employees(current_db(), query), EmployeeAnswer, "Employees")


@blueprint.post("", responses=created(EmployeeAnswer))
@refuses("already_exists")
def add_employee(body: NewEmployee) -> Response:
    """Add an employee."""
    added = service.add_employee(current_db(), body)
    return answer(EmployeeAnswer.of(added), "Employee added successfully", 201)


@blueprint.get("/<id>", responses=ok(EmployeeAnswer))
def get_employee(path: IdPath) -> Response:
    """Show an employee."""
    return answer(EmployeeAnswer.of(service.get_employee(current_db(), path.id)), "Employee")


@blueprint.patch("/<id>", responses=ok(EmployeeAnswer))
@refuses("already_exists")
def change_employee(path: IdPath, body: EmployeeChanges) -> Response:
    """Change an employee."""
    changed = service.change_employee(current_db(), path.id, body)
    return answer(EmployeeAnswer.of(changed), "Employee changed successfully")


@blueprint.delete("/<id>", responses=ok(EmployeeAnswer))
def delete_employee(path: IdPath) -> Response:
    """Delete an employee."""
    deleted = service.delete_employee(current_db(), path.id)
    return answer(EmployeeAnswer.of(deleted), "Employee deleted successfully")
