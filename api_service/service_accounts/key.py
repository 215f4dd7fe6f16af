"""The key of a service account: what is kept of it, and what its owner holds.

What its owner holds is `taskhub_key_` and base64url of id (16 bytes), secret (32 random bytes) and CRC-32 of both. The
prefix and the checksum let a scanner tell a leaked key from noise, the id makes looking it up one read of an index.
"""

from __future__ import annotations

import hashlib
import os
import uuid
import zlib
from datetime import datetime
from typing import NamedTuple

from shared.crypto import decode, encode
from shared.ids import resource_name
from shared.states import PrincipalKind

PREFIX = "taskhub_key_"
_SECRET = 32
_LENGTH = 16 + _SECRET + 4


class Key(NamedTuple):
    """A row of `service_account_keys`, in the order of `KEY_COLUMNS`, without what could be compared with a secret."""

    id: uuid.UUID
    service_account_id: uuid.UUID
    display_name: str
    create_time: datetime
    expire_time: datetime | None = None
    last_use_time: datetime | None = None
    revoke_time: datetime | None = None

    @property
    def name(self) -> str:
        """Resource name of the key."""
        return key_name(self.service_account_id, self.id)


def key_name(account_id: uuid.UUID, id_: uuid.UUID) -> str:
    """Returns `serviceAccounts/{id}/keys/{id}`."""
    return f"{resource_name(PrincipalKind.SERVICE_ACCOUNT, account_id)}/keys/{id_}"


def new_secret(id_: uuid.UUID) -> tuple[str, bytes]:
    """Returns what the owner of a new key gets to see, and what is stored of it.

    The secret is 256 random bits, so a plain hash hides it.
    """
    secret = os.urandom(_SECRET)
    body = id_.bytes + secret
    return PREFIX + encode(body + _checksum(body)), hashlib.sha256(secret).digest()


def read_secret(text: str) -> tuple[uuid.UUID, bytes] | None:
    """Returns the id of a key and the hash that is stored of it, or None for what is no key."""
    raw = decode(text.removeprefix(PREFIX)) if text.startswith(PREFIX) else None
    if raw is None or len(raw) != _LENGTH or _checksum(raw[:-4]) != raw[-4:]:
        return None
    return uuid.UUID(bytes=raw[:16]), hashlib.sha256(raw[16:-4]).digest()


def _checksum(body: bytes) -> bytes:
    return zlib.crc32(body).to_bytes(4)
