"""Every answer in the tests is compared with the OpenAPI document of the application."""

from functools import cache
from typing import Any

from flask.testing import FlaskClient
from flask_openapi3 import OpenAPI
from jsonschema import Draft202012Validator
from werkzeug.exceptions import HTTPException
from werkzeug.test import TestResponse

from multitenant import create_app
from multitenant.config import load_settings
from multitenant.openapi import build_document
from tests.support import CREDENTIAL_KEY, JWT_KEY


@cache
def contract() -> "Contract":
    """The document, which is the same for every application."""
    environment = {
        "MULTITENANT_ENV": "development",
        "ADMIN_DB_URI": "mongodb://nowhere/",
        "JWT_SECRET_KEYS": JWT_KEY,
        "CREDENTIAL_KEYS": CREDENTIAL_KEY,
        "BCRYPT_ROUNDS": "4",
    }
    return Contract(create_app(load_settings(environment, env_file=None)))


class Contract:
    """The OpenAPI document, as a check of answers."""

    def __init__(self, app: OpenAPI) -> None:
        self.app = app
        self._map = app.url_map
        self.document = build_document(app)
        self._validators: dict[tuple[str, str, int], Draft202012Validator] = {}
        self.checked = 0

    def check(self, method: str, path: str, response: TestResponse) -> None:
        """Fail unless the document says that this route may answer this."""
        rule = self._rule(method, path)
        if rule is None or rule not in self.document["paths"]:
            return  # no such route, or none of the API's: 404, 405, a page
        if method.lower() not in self.document["paths"][rule]:
            return
        operation = self.document["paths"][rule][method.lower()]
        status = response.status_code
        where = f"{method} {rule} answers {status}"
        assert str(status) in operation["responses"], f"{where}, which is not documented"
        key = (method, rule, status)
        if key not in self._validators:
            content = operation["responses"][str(status)]["content"]
            self._validators[key] = self._validator(content["application/json"]["schema"])
        body = response.get_json()
        for problem in self._validators[key].iter_errors(body):
            raise AssertionError(f"{where}: {problem.json_path}: {problem.message}")
        if status >= 400:
            code = body["responseObject"]["code"]
            described = operation["responses"][str(status)]["description"]
            assert f"`{code}`" in described, f"{where} with {code}, which is not documented"
        self.checked += 1

    def _rule(self, method: str, path: str) -> str | None:
        try:
            rule, _ = self._map.bind("localhost").match(path, method, return_rule=True)
        except HTTPException:
            return None
        return rule.rule.replace("<", "{").replace(">", "}")

    def validate(self, value: Any, schema: dict[str, Any]) -> None:
        """Fail unless the value fits this schema of the document."""
        self._validator(schema).validate(value)

    def _validator(self, schema: dict[str, Any]) -> Draft202012Validator:
        return Draft202012Validator({**schema, "components": self.document["components"]})


class CheckedClient(FlaskClient):
    """Flask's test client, with the check."""

    def open(self, *args: Any, **kwargs: Any) -> TestResponse:
        """Send a request, check the answer, and return it."""
        response = super().open(*args, **kwargs)
        request = response.request
        if request.method not in ("OPTIONS", "HEAD"):
            contract().check(request.method, request.path, response)
        return response
