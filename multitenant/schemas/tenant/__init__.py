"""What a tenant's database holds. Every document class in these modules is found without being
named anywhere else: a new resource is a new file."""

from importlib import import_module
from pkgutil import iter_modules

from mongoengine import Document


def _documents() -> tuple[type[Document], ...]:
    modules = [import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__)]
    return tuple(
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Document)
        and value.__module__ == module.__name__
    )


DOCUMENTS = _documents()
