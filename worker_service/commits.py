"""Commits on their way: the next job begins while the disk still writes the last one's.

A job's effect, its completion and the COMMIT are sent in one go, and the answer is read later. Each job still commits
alone and at once; only the waiting overlaps. See docs/decisions/overlapping-commits.md.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Generator
from contextlib import ExitStack
from typing import Any, NamedTuple

import psycopg
from psycopg import generators
from psycopg.pq import TransactionStatus

from worker_service import queries
from worker_service.database import Connection, Database
from worker_service.errors import LeaseLost
from worker_service.held import Current

#: Connections for handlers, and so commits on their way.
CONNECTIONS = 4


class Commit(NamedTuple):
    """A job whose COMMIT was sent."""

    current: Current
    database: Database
    #: Leaving it reads the answer.
    pipeline: ExitStack


class _OneGo(psycopg.Pipeline):
    """A pipeline that sends all it holds with one system call, and waits only when it is left.

    psycopg's own sends each command by itself and waits for the answer to its Sync.
    """

    _sent = False

    def send(self) -> None:
        """Sends what was queued, and the Sync after which the server answers."""
        self._enqueue_sync()
        while self.command_queue:
            self.command_queue.popleft()()
        self._conn.wait(generators.send(self.pgconn))
        self._sent = True

    def _exit_gen(self) -> Generator[Any, Any, None]:
        return self._fetch_gen(flush=False) if self._sent else super()._exit_gen()


class Commits:
    """The connections of handlers: one is in use, others wait for the answer to a COMMIT."""

    def __init__(self, databases: list[Database]) -> None:
        self._idle = deque(databases)
        self._sent: deque[Commit] = deque()

    @property
    def database(self) -> Database:
        """What the running job uses. There is one once `oldest` was answered."""
        return self._idle[0]

    def oldest(self, *, all_of_them: bool = False) -> Commit | None:
        """Returns a commit whose answer has to be read: the oldest if no connection is idle, or any of them."""
        return self._sent.popleft() if self._sent and (all_of_them or not self._idle) else None

    def send(self, current: Current, connection: Connection, transaction: ExitStack, result: str | None) -> None:
        """Sends the completion and the COMMIT of the transaction that `transaction` leaves, open on `connection`."""
        if connection.info.transaction_status == TransactionStatus.IDLE:
            raise RuntimeError("the handler has ended its transaction itself")
        database = self._idle[0]
        stack = ExitStack()
        pipeline = connection._pipeline = _OneGo(connection)  # noqa: SLF001 - `pipeline()` enters what it finds there
        try:
            stack.enter_context(connection.pipeline())
            queries.succeed_or_abort(connection, current.job, result)
            transaction.close()
            pipeline.send()
        except BaseException:
            with contextlib.suppress(psycopg.Error):
                stack.close()
            # Whether it was committed nobody knows: the fence does.
            database.close()
            raise
        self._idle.popleft()
        self._sent.append(Commit(current, database, stack))

    def answer(self, commit: Commit) -> None:
        """Waits for the answer. Raises LeaseLost, or psycopg.Error: then it may have been committed, or not."""
        try:
            commit.pipeline.close()
        except psycopg.errors.DivisionByZero as error:
            commit.database.close()
            raise LeaseLost from error
        except BaseException:
            commit.database.close()
            raise
        finally:
            self._idle.append(commit.database)

    def close(self) -> None:
        """Closes the connections; what was sent is decided by the server."""
        while self._sent:
            self._idle.append(self._sent.popleft().database)
        for database in self._idle:
            database.close()
