"""Builds the document."""

import re
from collections.abc import Iterable
from itertools import chain, count
from typing import Any

from flask_openapi3 import OpenAPI
from pydantic import BaseModel
from pydantic.alias_generators import to_camel
from pydantic_core import to_jsonable_python

from multitenant.middleware.access import Access, access_of, roles_of
from multitenant.middleware.request_rules import BODIES
from multitenant.openapi.components import Components
from multitenant.openapi.refusals import refusals
from multitenant.openapi.routes import METHODS, PARAMETERS, Route, routes_of
from multitenant.openapi.texts import HEADERS, SECURITY_SCHEMES
from multitenant.schemas.answers import Error

# What the id of something new is called in the answer, where it is not `id`.
_NAMES_OF_IDS = {"/api/tenants": "tenantId"}
_REQUEST_ID = {"X-Request-ID": {"$ref": "#/components/headers/RequestId"}}


def build_document(app: OpenAPI) -> dict[str, Any]:
    """Return the document of the application's routes, JSON-ready."""
    routes = list(routes_of(app))
    components = Components(
        [model for route in routes for kind, model in route.models.items() if kind != "raw"],
        [Error, *(model for route in routes for model in route.answers.values())],
    )
    paths: dict[str, Any] = {}
    for name, route in _named(routes):
        paths.setdefault(route.path, {})[route.method] = _operation(route, name, components)
    for path, item in paths.items():
        paths[path] = {method: item[method] for method in METHODS if method in item}
    _link(paths)
    return {
        "openapi": app.openapi_version,
        "info": app.info.model_dump(mode="json", by_alias=True, exclude_unset=True),
        "servers": [{"url": "/"}],
        "tags": _tags(app, paths),
        "paths": paths,
        "components": {
            "schemas": components.used_by(paths),
            "headers": HEADERS,
            "securitySchemes": SECURITY_SCHEMES,
        },
    }


def _named(routes: Iterable[Route]) -> Iterable[tuple[str, Route]]:
    """The routes, each with an operationId of its own: the view's name. The second of two views
    of one name has its blueprint's name before it; what is ambiguous then, its path behind it; and
    after that a number."""
    taken: set[str] = set()
    for route in routes:
        view, blueprint = route.view.__name__, route.blueprint
        path = f"{blueprint}_{view}_{route.method}_{route.path}"
        numbered = (f"{path}_{number}" for number in count(2))
        names = map(_identifier, chain([view, f"{blueprint}_{view}", path], numbered))
        name = next(name for name in names if name not in taken)
        taken.add(name)
        yield name, route


def _identifier(text: str) -> str:
    return to_camel(re.sub(r"\W+", "_", text).strip("_"))


def _operation(route: Route, name: str, components: Components) -> dict[str, Any]:
    collected = route.operation.model_dump(
        mode="json",
        by_alias=True,
        exclude_unset=True,
        exclude={"parameters", "requestBody", "responses"},
    )
    models = route.models
    parameters = [
        parameter
        for kind in PARAMETERS
        if kind in models
        for parameter in components.parameters(models[kind], kind)
        if kind != "path" or f"{{{parameter['name']}}}" in route.path
    ]
    body = _body(route, components)
    error = components.answer(Error)
    return {
        **collected,
        "tags": _tags_of(route),
        "operationId": name,
        "summary": collected.get("summary") or _sentence(route.view.__name__),
        "description": _description(route, collected.get("description", "")),
        "security": _security(access_of(route.view)),
        **({"parameters": parameters} if parameters else {}),
        **({"requestBody": body} if body else {}),
        "responses": _successes(route, components) | refusals(route, parameters, error),
    }


def _sentence(name: str) -> str:
    return f"{name.strip('_').replace('_', ' ').capitalize()}."


def _description(route: Route, text: str) -> str:
    """What the view's docstring says, and who may call it."""
    access, roles = access_of(route.view), roles_of(route.view)
    whom = {
        Access.PUBLIC: "For everybody, without a token.",
        Access.REFRESH: "For whoever has a refresh token.",
        Access.OPERATOR: "For operators.",
        Access.TENANT: "For all users of a tenant.",
    }[access]
    if roles is not None:
        named = " or ".join(f"`{role}`" for role in sorted(roles))
        whom = f"For users of a tenant with the role {named}."
    if route.module:
        whom += f" The tenant must have the module `{route.module}`."
    return "\n\n".join(filter(None, [text.replace("<br/>", "\n").strip(), whom]))


def _security(access: Access) -> list[dict[str, list[str]]]:
    if access is Access.PUBLIC:
        return []
    if access is Access.REFRESH:
        return [{"refreshToken": []}, {"jwt": []}, {"refreshCookie": []}]
    return [{"bearer": []}, {"jwt": []}, {"cookie": []}]


def _tags_of(route: Route) -> list[str]:
    """The view's tags, or for a view without any the name of its blueprint."""
    tags = sorted(set(route.operation.tags or ()) - {"default"})
    return tags or [route.blueprint or "Others"]


def _tags(app: OpenAPI, paths: dict[str, Any]) -> list[dict[str, Any]]:
    """Every tag that an operation has, as it was declared if it was."""
    declared = {
        tag.name: tag.model_dump(mode="json", by_alias=True, exclude_unset=True) for tag in app.tags
    }
    used = [tag for item in paths.values() for each in item.values() for tag in each["tags"]]
    return [declared.get(name, {"name": name}) for name in dict.fromkeys(used)]


def _body(route: Route, components: Components) -> dict[str, Any] | None:
    kind = next((kind for kind in BODIES if kind in route.models), None)
    if kind is None:
        return None
    model = route.models[kind]
    if kind == "raw":
        content = {mimetype: {"schema": {"type": "string"}} for mimetype in model.mimetypes}
    else:
        media = {"schema": components.request(model)}
        if example := getattr(model, "example", None):
            media["example"] = to_jsonable_python(example, fallback=str)
        types = ["application/json"] if kind == "body" else _form_types(model, components)
        content = dict.fromkeys(types, media)
    return {"required": True, "content": content}


def _form_types(model: type[BaseModel], components: Components) -> list[str]:
    """How a form may be encoded: one with files, or with more than plain values, in parts."""
    fields = components.resolve(components.request(model)).get("properties", {}).values()
    plain = ("string", "integer", "number", "boolean")
    if all(field.get("type") in plain and field.get("format") != "binary" for field in fields):
        return ["application/x-www-form-urlencoded", "multipart/form-data"]
    return ["multipart/form-data"]


def _successes(route: Route, components: Components) -> dict[str, Any]:
    """The answers that are declared with the view. Of one without we know that there is one."""
    answers: dict[str, Any] = {}
    for status, response in (route.operation.responses or {}).items():
        told = response.model_dump(
            mode="json", by_alias=True, exclude_unset=True, exclude={"model"}
        )
        if status in route.answers:
            schema = components.answer(route.answers[status])
            told["content"] = {"application/json": {"schema": schema}}
        told["headers"] = _REQUEST_ID | told.get("headers", {})
        answers[status] = told
    if not any(status.startswith(("2", "3")) for status in answers):
        answers["2XX"] = {"description": "Success", "headers": _REQUEST_ID}
    return answers


def _link(paths: dict[str, Any]) -> None:
    """Say of each answer that tells of something new how to go on with it: the routes below take
    its id as their next parameter, and those of its own path as they are."""
    for path, item in paths.items():
        made = item.get("post", {}).get("responses", {}).get("201")
        if made is None:
            continue
        known = {name: f"$request.path.{name}" for name in _parameters(path)}
        made_id = "$response.body#/responseObject/" + _NAMES_OF_IDS.get(path, "id")
        links = {}
        for below, operations in paths.items():
            if below.startswith(path + "/{") and len(_parameters(below)) == len(known) + 1:
                for operation in operations.values():
                    name = operation["operationId"]
                    parameters = {**known, _parameters(below)[-1]: made_id}
                    links[name] = {"operationId": name, "parameters": parameters}
        if links:
            made["links"] = links


def _parameters(path: str) -> list[str]:
    return re.findall(r"{(\w+)}", path)
