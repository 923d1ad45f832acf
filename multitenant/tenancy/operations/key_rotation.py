"""Encrypting everything with the first of CREDENTIAL_KEYS."""

from collections.abc import Iterator

from multitenant.repositories.admin import encrypted_fields
from multitenant.repositories.model import MongoDatabase
from multitenant.security.field_encryption import FieldCipher


def count_outdated(admin_db: MongoDatabase, cipher: FieldCipher) -> int:
    """Return how many fields are not encrypted with the current key."""
    return encrypted_fields.count_with_other_key(admin_db, cipher.current_key_id)


def rotate_keys(admin_db: MongoDatabase, cipher: FieldCipher) -> Iterator[None]:
    """Encrypt each such field anew and yield after each, while everything works on. What was
    changed by somebody else meanwhile is left alone: it has the current key by then.

    It may be stopped at any time and run again, which goes on with the rest. Raises
    DecryptionFailed when a field's key is not among CREDENTIAL_KEYS.
    """
    for found in encrypted_fields.find_with_other_key(admin_db, cipher.current_key_id):
        text = cipher.decrypt(found.value, record_id=found.record_id, field=found.field)
        value = cipher.encrypt(text, record_id=found.record_id, field=found.field)
        encrypted_fields.replace_encrypted_field(admin_db, found, value)
        yield
