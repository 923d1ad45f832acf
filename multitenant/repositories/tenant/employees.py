"""Employees in a tenant's database."""

from multitenant.repositories.resource import Resource
from multitenant.schemas.tenant.employees import EmployeeDocument

employees = Resource(EmployeeDocument, "employee")
