"""Orders and their items."""

from multitenant.schemas.tenant.orders import OrderDocument, OrderItemDocument

CREATES = (OrderDocument, OrderItemDocument)
