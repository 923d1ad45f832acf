"""Field encryption: bound to record and field, readable with every key that is listed."""

import pytest
from bson import ObjectId

from multitenant.errors import DecryptionFailed
from multitenant.security.field_encryption import FieldCipher

OLD, NEW = "old " * 16, "new " * 16
ID = ObjectId()
SECRET = "mongodb://user:päßword@db.example.com/"


def test_what_was_encrypted_is_read_again_and_not_seen_in_what_is_stored() -> None:
    cipher = FieldCipher([OLD])
    stored = cipher.encrypt(SECRET, record_id=ID, field="dbUri")
    assert cipher.decrypt(stored, record_id=ID, field="dbUri") == SECRET
    assert set(stored) == {"keyId", "nonce", "ciphertext"}
    assert "user" not in str(stored)
    assert OLD not in str(stored)


def test_the_same_text_is_never_stored_the_same_way_twice() -> None:
    cipher = FieldCipher([OLD])
    stored = [cipher.encrypt(SECRET, record_id=ID, field="dbUri") for _ in range(100)]
    assert len({value["nonce"] for value in stored}) == 100
    assert len({value["ciphertext"] for value in stored}) == 100


@pytest.mark.parametrize(("record_id", "field"), [(ObjectId(), "dbUri"), (ID, "credentials")])
def test_a_value_moved_to_another_record_or_field_does_not_decrypt(
    record_id: ObjectId, field: str
) -> None:
    cipher = FieldCipher([OLD])
    stored = cipher.encrypt(SECRET, record_id=ID, field="dbUri")
    with pytest.raises(DecryptionFailed, match=str(record_id)):
        cipher.decrypt(stored, record_id=record_id, field=field)


@pytest.mark.parametrize("part", ["nonce", "ciphertext"])
def test_a_value_that_was_altered_does_not_decrypt(part: str) -> None:
    cipher = FieldCipher([OLD])
    stored = cipher.encrypt(SECRET, record_id=ID, field="dbUri")
    stored[part] = ("B" if stored[part][0] == "A" else "A") + stored[part][1:]
    with pytest.raises(DecryptionFailed):
        cipher.decrypt(stored, record_id=ID, field="dbUri")


def test_the_first_key_encrypts_and_all_decrypt() -> None:
    before, between, after = FieldCipher([OLD]), FieldCipher([NEW, OLD]), FieldCipher([NEW])
    old = before.encrypt(SECRET, record_id=ID, field="dbUri")
    assert between.decrypt(old, record_id=ID, field="dbUri") == SECRET
    new = between.encrypt(SECRET, record_id=ID, field="dbUri")
    assert new["keyId"] == between.current_key_id == after.current_key_id != old["keyId"]
    assert after.decrypt(new, record_id=ID, field="dbUri") == SECRET
    with pytest.raises(DecryptionFailed, match="not in CREDENTIAL_KEYS"):
        after.decrypt(old, record_id=ID, field="dbUri")


def test_the_name_of_a_key_and_a_digest_say_nothing_about_the_key() -> None:
    old, new = FieldCipher([OLD]), FieldCipher([NEW])
    assert old.current_key_id != new.current_key_id
    assert old.digests(SECRET) == old.digests(SECRET) != new.digests(SECRET)
    assert FieldCipher([NEW, OLD]).digests(SECRET) == new.digests(SECRET) + old.digests(SECRET)
