"""Finding the document classes of a package: a new one is a new file, and named nowhere else."""

from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType

from mongoengine import Document


def find_documents(package: str, path: list[str]) -> tuple[type[Document], ...]:
    """Return the document classes that the modules of a package define."""
    modules: list[ModuleType] = [
        import_module(f"{package}.{module.name}") for module in iter_modules(path)
    ]
    return tuple(
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Document)
        and value.__module__ == module.__name__
    )
