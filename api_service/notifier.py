"""Tells other processes, after a commit, that there is something to look at."""

from __future__ import annotations

import asyncio

import structlog

from api_service.database import Database

log = structlog.get_logger()


class Notifier:
    """Sends one NOTIFY for all that was committed in the meantime, `pause` seconds apart at the least.

    Only a hint: whoever listens also looks by himself. Inside the transaction it would serialise all commits of the
    database.
    """

    def __init__(self, database: Database, channel: str, pause: float = 0.0) -> None:
        self._database = database
        self._channel = channel
        self._pause = pause
        self._due = asyncio.Event()

    def wake(self) -> None:
        """Asks for a NOTIFY soon. Costs nothing and never fails."""
        self._due.set()

    async def run(self) -> None:
        """Sends them until it is cancelled."""
        while True:
            await self._due.wait()
            self._due.clear()
            try:
                async with self._database.connection() as connection:
                    await connection.execute(f"NOTIFY {self._channel}")
            except Exception:  # noqa: BLE001  see above
                log.warning("notify_failed", channel=self._channel)
            await asyncio.sleep(self._pause)
