"""Orders."""

from flask import Response
from flask_openapi3 import APIBlueprint, Tag

from multitenant.controllers.paging import answer_page
from multitenant.middleware.access import in_module
from multitenant.middleware.envelope import answer
from multitenant.middleware.request_context import current_db
from multitenant.schemas.answers import created, ok, page_of
from multitenant.schemas.paging import PageQuery
from multitenant.schemas.payload import IdPath
from multitenant.schemas.tenant.orders import NewOrder, OrderAnswer
from multitenant.services.tenant import orders as service

blueprint = in_module(
    "orders",
    APIBlueprint("orders", __name__, url_prefix="/api/orders", abp_tags=[Tag(name="Orders")]),
)


@blueprint.get("", responses=page_of(OrderAnswer))
def list_orders(query: PageQuery) -> Response:
    """List the orders with their items."""
    return answer_page(service.list_orders(current_db(), query), OrderAnswer, "Orders")


@blueprint.post("", responses=created(OrderAnswer))
def place_order(body: NewOrder) -> Response:
    """Place an order."""
    placed = service.place_order(current_db(), body)
    return answer(OrderAnswer.of(placed), "Order placed successfully", 201)


@blueprint.get("/<id>", responses=ok(OrderAnswer))
def get_order(path: IdPath) -> Response:
    """Show an order with its items."""
    return answer(OrderAnswer.of(service.get_order(current_db(), path.id)), "Order")
