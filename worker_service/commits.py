"""Commits on their way: the next job begins while the disk still writes the last one's.

A job's effect, its completion and the COMMIT are sent in one go, and the answer is read later. Each job still commits
alone and at once; only the waiting overlaps. See docs/decisions/overlapping-commits.md.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import psycopg

from worker_service import queries
from worker_service.connection import JobConnection
from worker_service.database import Database
from worker_service.errors import LeaseLost
from worker_service.held import Current

#: Connections for handlers, and so commits on their way.
CONNECTIONS = 4


class Commit(NamedTuple):
    """A job whose COMMIT was sent."""

    current: Current
    database: Database
    connection: JobConnection


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

    def send(self, current: Current, connection: JobConnection, result: str | None) -> None:
        """Sends the completion and the COMMIT of the transaction that is open on `connection`."""
        if not connection.in_transaction:
            raise RuntimeError("the handler has ended its transaction itself")
        database = self._idle[0]
        try:
            queries.succeed_or_abort(connection, current.job, result)
        except BaseException:
            # Whether it was committed nobody knows: the fence does.
            database.close()
            raise
        self._idle.popleft()
        self._sent.append(Commit(current, database, connection))

    def answer(self, commit: Commit) -> None:
        """Waits for the answer. Raises LeaseLost, or psycopg.Error: then it may have been committed, or not."""
        try:
            commit.connection.read_answer()
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
