"""Everything that is derived from `TASKHUB_SECRET_KEY`: each purpose has a key of its own (HKDF, RFC 5869)."""

from __future__ import annotations

import base64
import binascii
import hmac
import os
import uuid

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

#: A UUID and an HMAC-SHA256.
_LINK_LENGTH = 16 + 32


class Secrets:
    """The keys of one installation. Everything that holds the same secret key derives the same ones."""

    def __init__(self, secret_key: str) -> None:
        self._root = secret_key.encode()
        self._fingerprint = self._derive("fingerprint")
        self._page = self._derive("page-token")
        self._link = self._derive("link")
        self._refresh = self._derive("refresh-token")
        self._seal = AESGCM(self._derive("seal"))

    def _derive(self, purpose: str) -> bytes:
        info = f"taskhub/{purpose}/v1".encode()
        return HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(self._root)

    def fingerprint(self, *parts: bytes) -> bytes:
        """Returns 32 bytes that stand for `parts`. Without the key nobody can test guesses of them."""
        # In one go: an object that is updated part by part takes three times as long.
        whole = b"".join(piece for part in parts for piece in (len(part).to_bytes(8), part))
        return hmac.digest(self._fingerprint, whole, "sha256")

    def page_mac(self, body: bytes) -> bytes:
        """Returns the 16 bytes that sign a page token."""
        return hmac.digest(self._page, body, "sha256")[:16]

    def link_token(self, purpose: str, id_: uuid.UUID) -> str:
        """Returns the token of the link with this id: 64 characters that only the holder of the key can make."""
        return encode(id_.bytes + self._link_mac(purpose, id_))

    def open_link(self, purpose: str, token: str) -> uuid.UUID | None:
        """Returns the id in a link's token, or None for one that we did not make for this purpose."""
        raw = decode(token)
        if raw is None or len(raw) != _LINK_LENGTH:
            return None
        id_ = uuid.UUID(bytes=raw[:16])
        return id_ if hmac.compare_digest(raw[16:], self._link_mac(purpose, id_)) else None

    def _link_mac(self, purpose: str, id_: uuid.UUID) -> bytes:
        return hmac.digest(self._link, purpose.encode() + b"\0" + id_.bytes, "sha256")

    def next_refresh_token(self, token: str) -> str:
        """Returns the refresh token that follows on `token`: always the same, and only the key can tell it."""
        return encode(hmac.digest(self._refresh, token.encode(), "sha256"))

    def seal(self, plain: bytes, context: str) -> bytes:
        """Encrypts `plain` (AES-256-GCM); it opens only under the same context, such as the row's key."""
        nonce = os.urandom(12)
        return nonce + self._seal.encrypt(nonce, plain, context.encode())

    def open(self, sealed: bytes, context: str) -> bytes | None:
        """Decrypts what `seal` made, or returns None where the secret key or the context is another."""
        try:
            return self._seal.decrypt(sealed[:12], sealed[12:], context.encode())
        except InvalidTag:
            return None


def encode(raw: bytes) -> str:
    """Returns base64url without padding (RFC 4648, section 5)."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def decode(text: str) -> bytes | None:
    """Returns the bytes of canonical base64url without padding, or None for anything else."""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if encode(raw) == text else None
