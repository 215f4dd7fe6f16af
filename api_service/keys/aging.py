"""Rotates signing keys by itself, once the newest has reached the age that the operator has set."""

from __future__ import annotations

import asyncio

import structlog

from api_service.database import Database
from api_service.keys import rotation
from api_service.settings import ApiSettings
from shared.crypto import Secrets

log = structlog.get_logger()

#: Seconds between two looks. An age is given in days.
_INTERVAL = 60.0


class Aging:
    """Runs in every process: whoever comes first makes the key, and the others find it there."""

    def __init__(self, settings: ApiSettings, database: Database, secrets: Secrets) -> None:
        self._age = settings.signing_key_days * 86400
        self._token_seconds = settings.access_token_seconds
        self._database = database
        self._secrets = secrets

    async def run_once(self) -> str | None:
        """Rotates if it is time; returns the id of the new key if it was."""
        async with self._database.transaction() as connection:
            kid = await rotation.rotate_if_older(connection, self._secrets, self._token_seconds, self._age)
        if kid is not None:
            log.info("signing_key_rotated", kid=kid)
        return kid

    async def run(self) -> None:
        """Looks until it is cancelled, where an age is set."""
        while self._age:
            try:
                await self.run_once()
            except Exception as error:  # noqa: BLE001  the keys of a moment ago still serve
                log.warning("signing_keys_not_rotated", error=type(error).__name__)
            await asyncio.sleep(_INTERVAL)
