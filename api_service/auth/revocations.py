"""Which sessions ended while their access tokens are still good: every process follows the list, none asks per call.

Whoever ends something knows at once, the other processes by a NOTIFY within milliseconds, or by looking within seconds.
"""

from __future__ import annotations

import asyncio
import math
import uuid

import structlog

from api_service.auth import queries
from api_service.database import Database
from api_service.notifier import Notifier
from shared.revocations import CHANNEL

log = structlog.get_logger()

#: Within this time, and a little, a revocation reaches every process that no NOTIFY has reached.
POLL_SECONDS = 2.0
#: Seconds between two NOTIFYs, whatever ends in between.
_PAUSE = 0.05


class Revocations:
    """The sessions revoked within the life of an access token.

    What ends with a session is every token of it. Of a service account that was disabled and is enabled again, the
    tokens of the generations before are over, and the same key gives new ones.
    """

    def __init__(self, database: Database, access_token_seconds: int) -> None:
        self._database = database
        self._window = access_token_seconds + 60
        #: By session or key, the first generation whose tokens are good.
        self._ends: dict[uuid.UUID, float] = {}
        #: What was added since the list was asked for last: the answer on its way may not know of it.
        self._added: dict[uuid.UUID, float] = {}
        self._loading = asyncio.Lock()
        #: Tells the other processes.
        self.notifier = Notifier(database, CHANNEL, _PAUSE)

    def over(self, session: uuid.UUID, generation: int = 0) -> bool:
        """Whether a token of the session, or of the key and that generation of its account, is known to be over."""
        return generation < self._ends.get(session, 0)

    def add(self, *sessions: uuid.UUID) -> None:
        """Notes at once what this process itself revoked, and tells the others soon."""
        if sessions:
            ended = dict.fromkeys(sessions, math.inf)
            self._ends |= ended
            self._added |= ended
            self.notifier.wake()

    async def follow(self) -> None:
        """The same where it is not known what a change has ended: looks, before its caller is answered."""
        self.notifier.wake()
        try:
            await self.load()
        except Exception:  # noqa: BLE001  the change is committed, and the next look is a poll away
            log.warning("revocations_not_refreshed")

    async def load(self) -> None:
        """Reads the list."""
        async with self._loading:
            self._added = {}
            async with self._database.connection() as connection:
                found = await queries.revoked_sessions(connection, self._window)
            self._ends = found | self._added

    async def run(self) -> None:
        """Follows the list until it is cancelled. Without a database nothing new is revoked, and the old list stays."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            try:
                await self.load()
            except Exception:  # noqa: BLE001  see above; the next round tries again
                log.warning("revocations_not_refreshed")
