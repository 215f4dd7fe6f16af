"""grpc.health.v1: SERVING as long as this process reaches PostgreSQL, NOT_SERVING otherwise and while it drains."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import structlog
from grpc_health.v1 import health, health_pb2

from api_service.database import Database
from api_service.metrics import DATABASE_UP

log = structlog.get_logger()

_INTERVAL = 1.0
_TIMEOUT = 2.0


class Health:
    """Follows the database, and tells whoever asks or watches."""

    def __init__(self, database: Database, services: Iterable[str]) -> None:
        self.servicer = health.aio.HealthServicer()
        self._database = database
        self._services = ["", *services]
        self._serving: bool | None = None
        self._draining = False

    async def run(self) -> None:
        """Looks once a second until it is cancelled."""
        while True:
            await self.run_once()
            await asyncio.sleep(_INTERVAL)

    async def run_once(self) -> None:
        """Asks the database, and says so where the answer is another than before."""
        serving = await self._reachable() and not self._draining
        if serving != self._serving:
            log.info("health_changed", serving=serving)
            self._serving = serving
            await self._tell()

    async def drain(self) -> None:
        """Turns callers away, for good."""
        self._draining = True
        self._serving = False
        await self._tell()

    async def _reachable(self) -> bool:
        try:
            async with asyncio.timeout(_TIMEOUT), self._database.connection() as connection:
                await connection.execute("SELECT 1")
        except Exception:  # noqa: BLE001  whatever it is, we cannot serve
            DATABASE_UP.set(0)
            return False
        DATABASE_UP.set(1)
        return True

    async def _tell(self) -> None:
        status = health_pb2.HealthCheckResponse.SERVING if self._serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for service in self._services:
            await self.servicer.set(service, status)
