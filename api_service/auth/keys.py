"""Signing keys: Ed25519 pairs, kept in PostgreSQL sealed under the secret key, the same for every process."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from api_service.auth import queries
from api_service.database import Connection, Database
from shared.crypto import Secrets, encode
from shared.ids import new_id

log = structlog.get_logger()

#: How often a process looks for keys that others made.
REFRESH_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One pair. Every published key verifies; the newest whose time has come signs."""

    kid: str
    private: Ed25519PrivateKey
    public: Ed25519PublicKey
    sign_from_time: datetime

    @property
    def x(self) -> str:
        """The public key as a JWK holds it (RFC 8037)."""
        return encode(self.public.public_bytes_raw())


class SecretKeyMismatchError(Exception):
    """TASKHUB_SECRET_KEY is not the one that this database was set up with."""


class KeyRing:
    """The keys as this process last saw them."""

    def __init__(self, database: Database, secrets: Secrets) -> None:
        self._database = database
        self._secrets = secrets
        self._keys: dict[str, SigningKey] = {}

    def get(self, kid: str) -> SigningKey | None:
        """Returns the key with this id, or None."""
        return self._keys.get(kid)

    def published(self) -> list[SigningKey]:
        """Returns every key that may have signed a token still good, and the one that signs next."""
        return list(self._keys.values())

    def signer(self) -> SigningKey:
        """Returns the key that signs now."""
        now = datetime.now(UTC)
        return max(
            (key for key in self._keys.values() if key.sign_from_time <= now), key=lambda key: key.sign_from_time
        )

    async def load(self) -> None:
        """Reads the keys, and makes the first one where there is none, whoever comes first."""
        async with self._database.transaction() as connection:
            rows = await queries.signing_keys(connection)
            if not rows:
                await queries.lock_signing_keys(connection)
                rows = await queries.signing_keys(connection) or [await self._first(connection)]
        self._keys = {row.kid: self._open(row) for row in rows}

    async def run(self) -> None:
        """Keeps up with the database until it is cancelled."""
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            try:
                await self.load()
            except Exception:  # noqa: BLE001  the keys of a moment ago still serve
                log.warning("signing_keys_not_refreshed")

    async def _first(self, connection: Connection) -> queries.SigningKeyRow:
        private = Ed25519PrivateKey.generate()
        kid = str(new_id())
        return await queries.insert_signing_key(
            connection,
            kid=kid,
            public_key=private.public_key().public_bytes_raw(),
            sealed_private_key=self._secrets.seal(private.private_bytes_raw(), f"signing-key/{kid}"),
        )

    def _open(self, row: queries.SigningKeyRow) -> SigningKey:
        raw = self._secrets.open(row.sealed_private_key, f"signing-key/{row.kid}")
        if raw is None:
            raise SecretKeyMismatchError
        private = Ed25519PrivateKey.from_private_bytes(raw)
        return SigningKey(row.kid, private, private.public_key(), row.sign_from_time)
