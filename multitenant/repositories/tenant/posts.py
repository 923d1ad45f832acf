"""Posts in a tenant's database."""

from typing import Any

from multitenant.repositories.resource import Resource
from multitenant.schemas.tenant.posts import PostDocument

NOT_DELETED: dict[str, Any] = {"deletedAt": None}

posts = Resource(PostDocument, "post", NOT_DELETED)
published_posts = Resource(PostDocument, "post", {"published": True, **NOT_DELETED})
all_posts = Resource(PostDocument, "post")
"""Deleted ones as well."""
