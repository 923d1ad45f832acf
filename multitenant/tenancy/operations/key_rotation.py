"""Encrypting everything with the first of CREDENTIAL_KEYS."""

from collections.abc import Iterator

from multitenant.repositories.admin import encrypted_fields
from multitenant.repositories.model import MongoDatabase
from multitenant.security.field_encryption import FieldCipher
from multitenant.tenancy.failures import contained


def count_outdated(admin_db: MongoDatabase, cipher: FieldCipher) -> int:
    """Return how many fields are not encrypted with the current key."""
    return encrypted_fields.count_with_other_key(admin_db, cipher.current_key_id)


def rotate_keys(admin_db: MongoDatabase, cipher: FieldCipher) -> Iterator[str | None]:
    """Encrypt each such field anew while everything works on. Yield after each: None or, where it
    cannot be decrypted, why; it stays as it is then. What was changed by somebody else meanwhile is
    left alone: it has the current key by then.

    It may be stopped at any time and run again, which goes on with the rest.
    """
    for found in encrypted_fields.find_with_other_key(admin_db, cipher.current_key_id):
        with contained(f"{found.field} of {found.record_id} keeps its key") as failure:
            text = cipher.decrypt(found.value, record_id=found.record_id, field=found.field)
            value = cipher.encrypt(text, record_id=found.record_id, field=found.field)
            encrypted_fields.replace_encrypted_field(admin_db, found, value)
        yield failure.message if failure else None
