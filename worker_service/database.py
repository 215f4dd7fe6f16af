"""One connection to PostgreSQL that comes back after an outage."""

from __future__ import annotations

import contextlib
import select
from datetime import datetime
from typing import Any, NamedTuple

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row

from worker_service.connection import JobConnection

Connection = psycopg.Connection[dict[str, Any]]

#: A vanished server is noticed within about ten seconds, also in the middle of a query.
OPTIONS: dict[str, Any] = {
    "connect_timeout": 3,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}

#: Keeps the plans of the engine's own statements to the indexes that stand behind them. Plans are made once, while the
#: tables may be empty, and have to fit a million rows as well.
BY_INDEX = "; ".join(
    f"SET {setting} = off"
    for setting in ("enable_seqscan", "enable_bitmapscan", "enable_hashjoin", "enable_mergejoin", "jit")
)


class Session(NamedTuple):
    """What tells a session of PostgreSQL from all others, also after its pid was given out again."""

    pid: int
    start_time: datetime


class Database:
    """A connection for one thread: opened when first asked for, and again after it broke. Statements commit alone.

    `pooled` says that a transaction pooler stands between: then nothing is prepared, set or known of the session.
    `setup` are statements for a fresh session.
    """

    def __init__(self, dsn: str, name: str, *, pooled: bool = True, setup: str = "") -> None:
        self._dsn = dsn
        self._name = name
        self._setup = setup
        self.pooled = pooled
        self._connection: JobConnection | None = None
        self._session: Session | None = None

    @property
    def connection(self) -> JobConnection:
        """The open connection. Raises psycopg.OperationalError while there is none to be had."""
        if self._connection is None or self._connection.closed:
            connection = JobConnection.connect(
                self._dsn,
                autocommit=True,
                prepare_threshold=None if self.pooled else 1,
                row_factory=dict_row,
                application_name=self._name,
                **OPTIONS,
            )
            self._session = None
            if self._setup and not self.pooled:
                connection.execute(self._setup.encode())
            self._connection = connection
        return self._connection

    @property
    def session(self) -> Session | None:
        """Returns which session of PostgreSQL the open connection is; None behind a pooler."""
        connection = self.connection
        if self._session is None and not self.pooled:
            row = connection.execute(
                "SELECT backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()"
            ).fetchone()
            if row is not None and row["backend_start"] is not None:
                self._session = Session(connection.info.backend_pid, row["backend_start"])
        return self._session

    def renew(self) -> None:
        """Closes the connection if the server has ended it since it was used: the next use opens another.

        For one that is idle; otherwise the next statement would be the first to notice, and fail.
        """
        if self._connection is not None and not self._connection.closed and _ended(self._connection):
            self.close()

    def tidy(self) -> bool:
        """Returns whether the connection is as it was handed out; closes it if not.

        In a transaction that nobody knows of, what comes next would never be committed.
        """
        connection = self._connection
        if connection is None or connection.closed:
            return True
        tidy = connection.autocommit and connection.info.transaction_status == TransactionStatus.IDLE
        if not tidy:
            self.close()
        connection.row_factory = dict_row
        return tidy

    def close(self) -> None:
        """Closes the connection; the next use opens another."""
        if self._connection is not None:
            with contextlib.suppress(psycopg.Error):
                self._connection.close()
            self._connection = None


def _ended(connection: Connection) -> bool:
    """Returns whether the server's farewell or the end of the stream has come. Costs a system call."""
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    try:
        while poll.poll(0):
            connection.pgconn.consume_input()  # raises at the end of the stream, which comes behind the farewell
    except psycopg.OperationalError:
        return True
    return False
