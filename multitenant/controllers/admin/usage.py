"""What tenants use, for operators."""

from flask import Response
from flask_openapi3 import APIBlueprint, Tag

from multitenant.extensions import platform
from multitenant.middleware.access import operator_only
from multitenant.middleware.envelope import answer
from multitenant.schemas.admin.tenants import TenantQuery
from multitenant.schemas.admin.usage import UsageAnswer, UsageFailure, UsagePageAnswer
from multitenant.schemas.answers import ok
from multitenant.schemas.payload import IdPath

blueprint = APIBlueprint("usage", __name__, url_prefix="/api", abp_tags=[Tag(name="Usage")])


@blueprint.get("/usage", responses=ok(UsagePageAnswer))
@operator_only
def list_usage(query: TenantQuery) -> Response:
    """Show what each tenant stores. `errors` names those whose databases did not tell."""
    page = platform().usage.of_page(query)
    body = {
        "items": UsageAnswer.of_all(page.items),
        "errors": UsageFailure.of_all(page.failures),
        "nextCursor": page.next_cursor,
    }
    return answer(body, "Usage")


@blueprint.get("/tenants/<id>/usage", responses=ok(UsageAnswer))
@operator_only
def get_usage(path: IdPath) -> Response:
    """Show what a tenant stores, collection by collection."""
    return answer(UsageAnswer.of(platform().usage.of_tenant(path.id)), "Usage")
