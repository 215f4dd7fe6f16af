"""What is derived from the secret key."""

from __future__ import annotations

import uuid

import pytest

from shared.crypto import Secrets, decode, encode

ONE, OTHER = Secrets("one secret key, long enough"), Secrets("another secret key, long enough")
ID = uuid.UUID(int=7)


def test_a_link_opens_only_for_its_purpose_and_its_key() -> None:
    token = ONE.link_token("verify-email", ID)
    assert ONE.open_link("verify-email", token) == ID
    assert ONE.open_link("reset-password", token) is None
    assert OTHER.open_link("verify-email", token) is None


def test_what_is_sealed_opens_only_in_its_context_and_with_its_key() -> None:
    sealed = ONE.seal(b"private", "signing-key/1")
    assert b"private" not in sealed
    assert ONE.open(sealed, "signing-key/1") == b"private"
    assert ONE.open(sealed, "signing-key/2") is None
    assert OTHER.open(sealed, "signing-key/1") is None


def test_fingerprints_tell_parts_apart_and_need_the_key() -> None:
    assert ONE.fingerprint(b"ab", b"c") != ONE.fingerprint(b"a", b"bc")
    assert ONE.fingerprint(b"ab") != OTHER.fingerprint(b"ab")


@pytest.mark.parametrize("text", ["A", "AB", "AA==", "A A", "\N{SNOWMAN}", "AA\n"])
def test_only_canonical_base64url_is_taken(text: str) -> None:
    assert decode(text) is None


def test_base64url_goes_back_and_forth() -> None:
    assert decode(encode(b"\xff\x00\xfe")) == b"\xff\x00\xfe"
