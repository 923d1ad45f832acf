"""What a tenant's database holds. Every document class in these modules is found without being
named anywhere else: a new resource is a new file."""

from multitenant.schemas.documents import find_documents

DOCUMENTS = find_documents(__name__, __path__)
