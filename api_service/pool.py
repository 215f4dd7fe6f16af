"""Connections to PostgreSQL that go from call to call.

Always the same number, each in the hands of one call, idle, or being made anew. A call that ends gives its connection
straight to the one that has waited longest, without a lock and without a turn of the event loop: psycopg_pool, which
can do more, costs a tenth of a whole GetTask.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

from psycopg import AsyncConnection
from psycopg.pq import TransactionStatus

from api_service.connection import WatchedConnection
from shared.errors import Unavailable

#: What queries need; the pool's own can do more.
Connection = AsyncConnection[tuple[Any, ...]]

#: Seconds between two tries to connect. More, and a database that is back would be found too late.
_RETRY_SECONDS = 0.5


class Pool:
    """Lends connections. Lives in one event loop."""

    def __init__(self, dsn: str, size: int, patience: float, **arguments: Any) -> None:
        self._dsn = dsn
        self._size = size
        self._patience = patience
        self._arguments = arguments
        self._idle: list[WatchedConnection] = []
        #: Who waits for a connection, and until when.
        self._waiting: deque[tuple[asyncio.Future[WatchedConnection], float]] = deque()
        self._timed = False
        self._connecting: set[asyncio.Task[None]] = set()

    def open(self) -> None:
        """Begins to connect, whether the database is there or not."""
        for _ in range(self._size):
            self._connect()

    async def close(self) -> None:
        """Closes what is idle, and makes nothing anew."""
        for task in self._connecting:
            task.cancel()
        self._size = 0
        while self._idle:
            connection = self._idle.pop()
            connection.release()
            await connection.close()

    def lend(self) -> Loan:
        """Returns what lends one connection for an `async with`."""
        return Loan(self)

    async def take(self) -> WatchedConnection:
        """Returns a connection that was alive a moment ago. Raises Unavailable if none is free within the patience."""
        while self._idle:
            connection = self._idle.pop()  # the warmest
            if not connection.hung_up():
                return connection
            self._replace(connection)
        return await self._wait()

    def give(self, connection: WatchedConnection) -> None:
        """Takes a connection back. One that a call left in any other state than idle is not used again."""
        if connection.pgconn.transaction_status != TransactionStatus.IDLE or not self._size:
            self._replace(connection)
            return
        while self._waiting:
            waiter, _ = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return
        self._idle.append(connection)

    async def _wait(self) -> WatchedConnection:
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[WatchedConnection] = loop.create_future()
        self._waiting.append((waiter, loop.time() + self._patience))
        if not self._timed:
            self._timed = True
            loop.call_later(self._patience, self._give_up)
        try:
            return await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled() and waiter.exception() is None:  # a connection came at the same moment
                self.give(waiter.result())
            raise

    def _give_up(self) -> None:
        """Refuses those who have waited too long. All wait equally long: one timer, for the first, does for all."""
        loop = asyncio.get_running_loop()
        while self._waiting and (self._waiting[0][0].done() or self._waiting[0][1] <= loop.time()):
            waiter, _ = self._waiting.popleft()
            if not waiter.done():
                waiter.set_exception(Unavailable())
        self._timed = bool(self._waiting)
        if self._timed:
            loop.call_at(self._waiting[0][1], self._give_up)

    def _replace(self, connection: WatchedConnection) -> None:
        connection.release()
        connection.pgconn.finish()
        self._connect()

    def _connect(self) -> None:
        if self._size:
            task = asyncio.create_task(self._make())
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)

    async def _make(self) -> None:
        while True:
            try:
                connection = await WatchedConnection.connect(self._dsn, **self._arguments)
            except Exception:  # noqa: BLE001  whatever it was, the pool must not shrink; the health check says so
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                self.give(connection)
                return


class Loan:
    """One connection for the length of a block. A class: a generator's context manager costs several times as much."""

    __slots__ = ("_connection", "_pool")

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def __aenter__(self) -> WatchedConnection:
        """Takes one, or waits for one."""
        self._connection = await self._pool.take()
        return self._connection

    async def __aexit__(self, *_: object) -> None:
        """Gives it back, whatever happened."""
        self._pool.give(self._connection)
