"""What tenants call. Every module here has a `blueprint`, and is served without being named
anywhere else: a new resource is a new file. Its routes are closed unless a view says otherwise."""

from importlib import import_module
from pkgutil import iter_modules

from flask_openapi3 import APIBlueprint

BLUEPRINTS: tuple[APIBlueprint, ...] = tuple(
    import_module(f"{__name__}.{module.name}").blueprint for module in iter_modules(__path__)
)
