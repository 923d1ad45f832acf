"""Encrypting single fields of stored records: AES-256-GCM, with several keys.

What is encrypted is bound to the record and the field that it belongs to: copied to another
record, or to another field, it does not decrypt. Each value names the key that it was encrypted
with, so keys are replaced one record at a time (`multitenant keys rotate`).
"""

import hashlib
import hmac
import os
from base64 import b64decode, b64encode
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from multitenant.errors import DecryptionFailed

NONCE_BYTES = 12
PARTS = ("keyId", "nonce", "ciphertext")
EncryptedField = dict[str, str]
"""`keyId`, and in base 64 `nonce` and `ciphertext`: as the stored record has them."""


class FieldCipher:
    """Encrypts with the first of its keys and decrypts with any."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self._keys = {
            _key_id(secret): AESGCM(_derive(secret, b"multitenant field encryption"))
            for secret in secrets
        }
        self._current = next(iter(self._keys))
        self._digest_keys = [_derive(secret, b"multitenant digest") for secret in secrets]

    @property
    def current_key_id(self) -> str:
        """The id of the key that encrypts."""
        return self._current

    def encrypt(self, text: str, *, record_id: object, field: str) -> EncryptedField:
        """Encrypt the text for this field of this record."""
        nonce = os.urandom(NONCE_BYTES)
        ciphertext = self._keys[self._current].encrypt(
            nonce, text.encode(), _binding(record_id, field)
        )
        return {
            "keyId": self._current,
            "nonce": b64encode(nonce).decode(),
            "ciphertext": b64encode(ciphertext).decode(),
        }

    def decrypt(self, encrypted: EncryptedField, *, record_id: object, field: str) -> str:
        """Return the text that was encrypted for this field of this record.

        Raises DecryptionFailed when the key is not among CREDENTIAL_KEYS, or the value was
        changed, or made for another record or field, or is none that encrypt() has made.
        """
        try:
            key_id, nonce, ciphertext = (encrypted[name] for name in PARTS)
            key = self._keys.get(key_id)
            if key is None:
                raise DecryptionFailed(
                    f"{field} of {record_id} is encrypted with the key {key_id}, which is not in"
                    " CREDENTIAL_KEYS"
                )
            return key.decrypt(
                b64decode(nonce, validate=True),
                b64decode(ciphertext, validate=True),
                _binding(record_id, field),
            ).decode()
        except InvalidTag as error:
            raise DecryptionFailed(
                f"{field} of {record_id} was altered, or belongs to another record"
            ) from error
        except (LookupError, TypeError, ValueError) as error:  # whatever stands in its place
            raise DecryptionFailed(f"{field} of {record_id} is not an encrypted field") from error

    def digests(self, text: str) -> list[str]:
        """Fingerprints of the text, one under each key, which say nothing about it without."""
        return [
            hmac.new(key, text.encode(), hashlib.sha256).hexdigest() for key in self._digest_keys
        ]


def _binding(record_id: object, field: str) -> bytes:
    """What a value is bound to (the "associated data" of GCM)."""
    return f"{record_id}/{field}".encode()


def _derive(secret: str, purpose: bytes) -> bytes:
    """The key of 256 bits that a secret of any length stands for, for one purpose."""
    return HKDF(SHA256(), 32, salt=None, info=purpose).derive(secret.encode())


def _key_id(secret: str) -> str:
    """A name for a key that says nothing about it."""
    return hmac.new(secret.encode(), b"credential key id", hashlib.sha256).hexdigest()[:16]
