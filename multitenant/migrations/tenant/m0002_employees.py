"""Employees."""

from multitenant.schemas.tenant.employees import EmployeeDocument

CREATES = (EmployeeDocument,)
