"""The OpenAPI document: made of the views, their annotations, and their marks.

The success of each route is declared with it (`responses=ok(…)`). Its refusals follow from what it
is: who may call it, whether it has a body, a path, a cursor. Views name only those of their own,
with `@refuses`. A view that cannot be documented is refused at start.
"""

from multitenant.openapi.application import Application
from multitenant.openapi.document import build_document
from multitenant.openapi.refusals import refuses

__all__ = ["Application", "build_document", "refuses"]
