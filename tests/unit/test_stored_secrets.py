"""What earlier releases have encrypted, fingerprinted and signed stays readable."""

from multitenant.security import tokens
from multitenant.security.field_encryption import FieldCipher

SECRET = "old " * 16
STORED = {
    "keyId": "7f226e6dbf480cb5",
    "nonce": "Xk9QSoL/qgDTOI6Z",
    "ciphertext": "j+TomMSda+62nUSIPvnIT2fW97Mgp6Ah",
}


def test_a_value_that_was_stored_long_ago_is_read() -> None:
    cipher = FieldCipher([SECRET])
    assert cipher.decrypt(STORED, record_id="record", field="dbUri") == "the text"
    assert cipher.current_key_id == STORED["keyId"]


def test_a_fingerprint_is_that_of_the_text_and_stays_the_same() -> None:
    """They tell which databases are taken."""
    cipher = FieldCipher([SECRET])
    stored = "8df439298f3994b2de3a6ba58e127b95d764609d5595c17436cd211cfd79143d"
    assert cipher.digests("the text") == [stored]
    assert cipher.digests("another text") != [stored]


def test_a_signing_key_has_the_same_name_in_every_release() -> None:
    """Else every session would end with an upgrade."""
    assert tokens._key_id("a" * 64) == "50c2b07bfccf4aa6"
