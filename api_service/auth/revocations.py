"""Which sessions ended while their access tokens are still good: every process follows the list, none asks per call."""

from __future__ import annotations

import asyncio
import uuid

import structlog

from api_service.auth import queries
from api_service.database import Database

log = structlog.get_logger()

#: Within this time, and a little, a revocation reaches every process.
POLL_SECONDS = 2.0


class Revocations:
    """The sessions revoked within the life of an access token."""

    def __init__(self, database: Database, access_token_seconds: int) -> None:
        self._database = database
        self._window = access_token_seconds + 60
        self._sessions: frozenset[uuid.UUID] = frozenset()
        #: What was added since the list was asked for last: the answer on its way may not know of it.
        self._added: frozenset[uuid.UUID] = frozenset()

    def __contains__(self, session: uuid.UUID) -> bool:
        """Whether the session is known to be over."""
        return session in self._sessions

    def add(self, *sessions: uuid.UUID) -> None:
        """Notes at once what this process itself revoked."""
        self._sessions |= set(sessions)
        self._added |= set(sessions)

    async def load(self) -> None:
        """Reads the list."""
        self._added = frozenset()
        async with self._database.connection() as connection:
            found = await queries.revoked_sessions(connection, self._window)
        self._sessions = self._added.union(found)

    async def run(self) -> None:
        """Follows the list until it is cancelled. Without a database nothing new is revoked, and the old list stays."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            try:
                await self.load()
            except Exception:  # noqa: BLE001  see above; the next round tries again
                log.warning("revocations_not_refreshed")
