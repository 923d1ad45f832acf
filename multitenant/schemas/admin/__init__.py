"""What the admin database holds."""

from multitenant.schemas.documents import find_documents

DOCUMENTS = find_documents(__name__, __path__)
