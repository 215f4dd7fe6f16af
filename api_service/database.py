"""The pool of connections to PostgreSQL, and what a transaction means here."""

from __future__ import annotations

import asyncio
import select
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import structlog
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from api_service.settings import ApiSettings
from shared.errors import Unavailable
from shared.outbox import CHANNEL

log = structlog.get_logger()

Connection = AsyncConnection[tuple[Any, ...]]


class Database:
    """Connections of one process. Every one is in autocommit: a single statement is its own transaction."""

    def __init__(self, settings: ApiSettings) -> None:
        self._timeout = settings.database_pool_timeout
        self._size = settings.database_pool_size
        options = (
            f"-c statement_timeout={int(settings.statement_timeout * 1000)}"
            f" -c lock_timeout={int(settings.lock_timeout * 1000)}"
            " -c idle_in_transaction_session_timeout=60000 -c timezone=UTC"
        )
        self._pool = AsyncConnectionPool(
            settings.dsn,
            min_size=self._size,
            max_size=self._size,
            timeout=self._timeout,
            # A pool that backs off for longer finds a database that is back too late.
            reconnect_timeout=2.0,
            kwargs={"autocommit": True, "options": options, "connect_timeout": 2, "application_name": "taskhub-api"},
            open=False,
        )

    async def open(self) -> None:
        """Begins to connect; returns at once, whether the database is there or not."""
        await self._pool.open(wait=False)

    async def close(self) -> None:
        """Closes every connection."""
        await self._pool.close(timeout=2.0)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lends a connection that was alive a moment ago. A call that is cancelled hands back no open transaction."""
        connection = await self._checkout()
        try:
            yield connection
        finally:
            await self._pool.putconn(connection)

    @asynccontextmanager
    async def transaction(self, *, dry_run: bool = False) -> AsyncIterator[Connection]:
        """Lends a connection inside one READ COMMITTED transaction; a dry run rolls back whatever was done."""
        async with self.connection() as connection, connection.transaction(force_rollback=dry_run):
            yield connection

    async def _checkout(self) -> Connection:
        """Passes over connections that died while they lay idle: nothing was sent on them, so nothing can be lost."""
        for _ in range(self._size + 1):
            connection = await self._pool.getconn(timeout=self._timeout)
            if not _stale(connection):
                return connection
            await connection.close()
            await self._pool.putconn(connection)
        raise Unavailable


def _stale(connection: Connection) -> bool:
    """Whether the server has hung up: nobody talks on an idle connection but to say goodbye."""
    if connection.closed:
        return True
    poll = select.poll()
    poll.register(connection.pgconn.socket, select.POLLIN)
    return bool(poll.poll(0))


class JobNotifier:
    """Tells the dispatcher, after a commit, that a job waits: one NOTIFY for all that came in the meantime.

    Only a hint. Inside the transaction it would serialise all commits of the database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
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
                    await connection.execute(f"NOTIFY {CHANNEL}")
            except Exception:  # noqa: BLE001  whatever it was, the dispatcher also polls
                log.warning("job_notify_failed")
