"""The application, which refuses a view that its OpenAPI document could not describe."""

import re
from typing import Any

from flask_openapi3 import APIBlueprint, OpenAPI

from multitenant.errors import ConfigurationError
from multitenant.openapi.routes import METHODS, Route, ensure_documentable, routes_of


class Application(OpenAPI):
    """A Flask application with an OpenAPI document of its routes."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._documented: dict[str, dict[str, Route]] = {}
        super().__init__(*args, **kwargs)

    def register_api(self, api: APIBlueprint, **options: Any) -> None:
        """Register a blueprint. Paths that it shares with another one keep the views of both,
        each for its methods. Raises ConfigurationError."""
        before = dict(self.paths)
        super().register_api(api, **options)
        for path, item in before.items():
            for method in METHODS:
                if getattr(self.paths[path], method) is None:
                    setattr(self.paths[path], method, getattr(item, method))

    def add_url_rule(
        self,
        rule: str,
        endpoint: str | None = None,
        view_func: Any = None,
        provide_automatic_options: bool | None = None,
        **options: Any,
    ) -> None:
        """Add a route. Raises ConfigurationError when the document cannot describe it."""
        super().add_url_rule(rule, endpoint, view_func, provide_automatic_options, **options)
        added = endpoint or view_func.__name__
        for route in routes_of(self, self.url_map.iter_rules(added)):
            ensure_documentable(route)
            self._ensure_single(route)

    def _ensure_single(self, route: Route) -> None:
        """Raise ConfigurationError if another view has the path, or one that differs in the names
        of its parameters alone."""
        shape = re.sub(r"{\w+}", "{}", route.path)
        there = self._documented.setdefault(shape, {})
        for other in there.values():
            if other.path != route.path:
                raise ConfigurationError(
                    f"{route}: to OpenAPI its path is that of {other}; use the same names in both"
                )
        other = there.setdefault(route.method, route)
        if other.view is not route.view:
            raise ConfigurationError(f"{route}: {other} answers this already")
