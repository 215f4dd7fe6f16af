"""Signing keys as one process sees them: Ed25519 pairs, kept in PostgreSQL sealed under the secret key."""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from api_service.database import Connection, Database
from api_service.keys import queries
from shared.crypto import Secrets, encode
from shared.ids import new_id

log = structlog.get_logger()

#: How often a process looks for keys that were made or revoked: by then it follows.
REFRESH_SECONDS = 2.0
#: Between two looks that unknown key ids cause, whoever sends them and however many.
_ASK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One pair. Every published key verifies; the newest whose time has come signs.

    Times are of this process's monotonic clock, reckoned from the database's: a wall clock that is wrong changes
    nothing.
    """

    kid: str
    private: Ed25519PrivateKey
    public: Ed25519PublicKey
    signs_from: float
    gone_at: float

    @property
    def x(self) -> str:
        """The public key as a JWK holds it (RFC 8037)."""
        return encode(self.public.public_bytes_raw())


class SecretKeyMismatchError(Exception):
    """TASKHUB_SECRET_KEY did not seal this database's signing keys (changed? `api_service keys revoke --all`)."""


class KeyRing:
    """The keys as this process last saw them."""

    def __init__(self, database: Database, secrets: Secrets) -> None:
        self._database = database
        self._secrets = secrets
        self._keys: dict[str, SigningKey] = {}
        self._asking: asyncio.Task[None] | None = None
        self._asked = -math.inf

    def get(self, kid: str) -> SigningKey | None:
        """Returns the published key with this id, or None."""
        key = self._keys.get(kid)
        return key if key is not None and time.monotonic() < key.gone_at else None

    async def find(self, kid: str) -> SigningKey | None:
        """Returns the published key with this id, looking once more where it is unknown.

        A key that was revoked has a successor that signs before all processes have seen it. Tokens with invented ids
        cost a query a second at most, and all of them wait for the same one.
        """
        key = self.get(kid)
        if key is not None:
            return key
        if self._asking is None or self._asking.done():
            if time.monotonic() - self._asked < _ASK_SECONDS:
                return None
            self._asked = time.monotonic()
            self._asking = asyncio.create_task(self.load())
        await asyncio.shield(self._asking)
        return self.get(kid)

    def published(self) -> list[SigningKey]:
        """Returns every key that may have signed a token still good, and those that sign next."""
        return [key for kid in self._keys if (key := self.get(kid)) is not None]

    def signer(self) -> SigningKey:
        """Returns the key that signs now."""
        now = time.monotonic()
        return max((key for key in self._keys.values() if key.signs_from <= now), key=lambda key: key.signs_from)

    async def load(self) -> None:
        """Reads the keys, and makes the first one where none signs, whoever comes first."""
        async with self._database.connection() as connection:
            rows = await queries.signing_keys(connection)
        if not any(row.signs_in <= 0 for row in rows):
            rows = await self._first()
        keys = [key for row in rows if (key := self._open(row)) is not None]
        if not keys:
            raise SecretKeyMismatchError
        self._keys = {key.kid: key for key in keys}

    async def run(self) -> None:
        """Keeps up with the database until it is cancelled."""
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            try:
                await self.load()
            except Exception as error:  # noqa: BLE001  the keys of a moment ago still serve
                log.warning("signing_keys_not_refreshed", error=type(error).__name__)

    async def _first(self) -> list[queries.SigningKeyRow]:
        async with self._database.transaction() as connection:
            await queries.lock_signing_keys(connection)
            rows = await queries.signing_keys(connection)
            if any(row.signs_in <= 0 for row in rows):
                return rows
            return [*rows, await make_key(connection, self._secrets, signs_in=0)]

    def _open(self, row: queries.SigningKeyRow) -> SigningKey | None:
        raw = open_key(self._secrets, row)
        if raw is None:
            log.error("signing_key_not_opened", kid=row.kid, reason="TASKHUB_SECRET_KEY is not the one that sealed it")
            return None
        private = Ed25519PrivateKey.from_private_bytes(raw)
        now = time.monotonic()
        gone_at = math.inf if row.expire_time is None else now + (row.expire_time - row.now).total_seconds()
        return SigningKey(row.kid, private, private.public_key(), now + row.signs_in, gone_at)


def open_key(secrets: Secrets, row: queries.SigningKeyRow) -> bytes | None:
    """Returns the private key of a row, or None where it was sealed under another secret key."""
    return secrets.open(row.sealed_private_key, f"signing-key/{row.kid}")


async def make_key(connection: Connection, secrets: Secrets, *, signs_in: float) -> queries.SigningKeyRow:
    """Makes a pair and publishes it; the table is locked."""
    private = Ed25519PrivateKey.generate()
    kid = str(new_id())
    return await queries.insert_signing_key(
        connection,
        kid=kid,
        public_key=private.public_key().public_bytes_raw(),
        sealed_private_key=secrets.seal(private.private_bytes_raw(), f"signing-key/{kid}"),
        signs_in=signs_in,
    )
