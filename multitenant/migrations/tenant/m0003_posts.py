"""Posts and the comments on them."""

from multitenant.schemas.tenant.comments import CommentDocument
from multitenant.schemas.tenant.posts import PostDocument

CREATES = (PostDocument, CommentDocument)
