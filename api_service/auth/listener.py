"""Hears at once what other processes, and the commands of operators, have ended."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg
import structlog
from psycopg import AsyncConnection

from api_service.settings import ApiSettings
from shared.errors import Unavailable
from shared.revocations import CHANNEL

log = structlog.get_logger()

#: Seconds between two tries to connect, and between two looks, however many NOTIFYs come.
_RETRY, _PAUSE = 1.0, 0.05
#: A connection that is cut without a word is found out within half a minute.
_KEEPALIVE: dict[str, Any] = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}


class Listener:
    """Listens on a connection of its own, and lets `followers` look whenever there is something to see.

    A hint and no more: each of them also looks by itself, which is all there is behind a pooler that delivers none.
    """

    def __init__(self, settings: ApiSettings, *followers: Callable[[], Awaitable[None]]) -> None:
        self._dsn = settings.direct_dsn
        self._followers = followers

    async def run(self) -> None:
        """Listens until it is cancelled."""
        while True:
            try:
                await self._listen()
            except (psycopg.Error, OSError, Unavailable) as error:
                log.warning("revocations_not_heard", error=type(error).__name__)
            await asyncio.sleep(_RETRY)

    async def _listen(self) -> None:
        async with await AsyncConnection.connect(
            self._dsn, autocommit=True, connect_timeout=2, application_name="taskhub-listener", **_KEEPALIVE
        ) as connection:
            await connection.execute(f"LISTEN {CHANNEL}")
            while True:
                for look in self._followers:  # at first for what was said before
                    await look()
                await asyncio.sleep(_PAUSE)
                async for _ in connection.notifies(stop_after=1):
                    pass
