"""grpc.health.v1: SERVING as long as this process reaches PostgreSQL, NOT_SERVING otherwise and while it drains."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from typing import Any

import structlog
from grpc_health.v1.health_pb2 import HealthCheckResponse

from api_service.database import Database
from api_service.metrics import DATABASE_UP

log = structlog.get_logger()

_INTERVAL = 1.0
_TIMEOUT = 2.0


class Health:
    """Follows the database, and tells whoever asks or watches."""

    def __init__(self, database: Database, services: Iterable[str]) -> None:
        self._database = database
        self._services = {"", *services}
        self._changed = asyncio.Event()
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
            self._tell()

    def drain(self) -> None:
        """Turns callers away, for good."""
        self._draining = True
        self._serving = False
        self._tell()

    def status(self, service: str) -> Any:
        """Returns the HealthCheckResponse.ServingStatus of a service, or None for one that is not here."""
        if service not in self._services:
            return None
        return HealthCheckResponse.SERVING if self._serving else HealthCheckResponse.NOT_SERVING

    async def watch(self, service: str) -> AsyncGenerator[Any, None]:
        """Yields the status of a service, and each other one that follows. Whoever is slow misses some."""
        last = None
        while True:
            changed, status = self._changed, self.status(service)
            if status is None:
                status = HealthCheckResponse.SERVICE_UNKNOWN
            if status != last:
                yield status
                last = status
            await changed.wait()

    async def _reachable(self) -> bool:
        try:
            async with asyncio.timeout(_TIMEOUT), self._database.connection() as connection:
                await connection.execute("SELECT 1")
        except Exception:  # noqa: BLE001  whatever it is, we cannot serve
            DATABASE_UP.set(0)
            return False
        DATABASE_UP.set(1)
        return True

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
