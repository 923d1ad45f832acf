"""The application, which refuses a view that its OpenAPI document could not describe."""

import re
from typing import Any

from flask_openapi3 import APIBlueprint, APIView, OpenAPI

from multitenant.errors import ConfigurationError
from multitenant.openapi.routes import METHODS, Route, ensure_documentable, routes_of


class Application(OpenAPI):
    """A Flask application with an OpenAPI document of its routes. Whatever registers one raises
    ConfigurationError when the document cannot describe it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._checked: set[int] = set()
        self._documented: dict[str, dict[str, Route]] = {}
        super().__init__(*args, **kwargs)

    def register_api(self, api: APIBlueprint, **options: Any) -> None:
        """Register a blueprint."""
        before = dict(self.paths)
        super().register_api(api, **options)
        self._check(before)

    def register_api_view(self, api_view: APIView, *args: Any, **kwargs: Any) -> None:
        """Register views that are methods of a class."""
        before = dict(self.paths)
        super().register_api_view(api_view, *args, **kwargs)
        self._check(before)

    def _add_url_rule(self, *args: Any, **kwargs: Any) -> None:
        """Register a view of the application itself."""
        super()._add_url_rule(*args, **kwargs)
        self._check({})

    def _check(self, before: dict[str, Any]) -> None:
        """Check the routes that are new, and keep the methods of paths that were there before."""
        for path, item in before.items():
            missing = [name for name in METHODS if getattr(self.paths[path], name) is None]
            others = {name: getattr(item, name) for name in missing if getattr(item, name)}
            if others:  # the blueprint's own item stays as it is, for other applications
                self.paths[path] = self.paths[path].model_copy(update=others)
        new = [rule for rule in self.url_map.iter_rules() if id(rule) not in self._checked]
        self._checked.update(map(id, new))
        for route in routes_of(self, new):
            ensure_documentable(route)
            self._ensure_single(route)

    def _ensure_single(self, route: Route) -> None:
        """Raise ConfigurationError if another view has the path, or one that differs in the names
        of its parameters alone."""
        there = self._documented.setdefault(re.sub(r"{\w+}", "{}", route.path), {})
        for other in there.values():
            if other.path != route.path:
                raise ConfigurationError(
                    f"{route}: to OpenAPI its path is that of {other}; use the same names in both"
                )
        other = there.setdefault(route.method, route)
        if other.view is not route.view:
            raise ConfigurationError(f"{route}: {other} answers this already")
