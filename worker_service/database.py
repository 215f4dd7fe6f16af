"""One connection to PostgreSQL that comes back after an outage."""

from __future__ import annotations

import contextlib
from typing import Any

import psycopg
from psycopg.rows import dict_row

Connection = psycopg.Connection[dict[str, Any]]

#: A vanished server is noticed within about ten seconds, also in the middle of a query.
OPTIONS: dict[str, Any] = {
    "connect_timeout": 3,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}


class Database:
    """A connection for one thread: opened when first asked for, and again after it broke. Statements commit alone."""

    def __init__(self, dsn: str, name: str) -> None:
        self._dsn = dsn
        self._name = name
        self._connection: Connection | None = None

    @property
    def connection(self) -> Connection:
        """The open connection. Raises psycopg.OperationalError while there is none to be had."""
        if self._connection is None or self._connection.closed:
            # Prepared statements and transaction poolers do not go together.
            self._connection = psycopg.Connection.connect(
                self._dsn,
                autocommit=True,
                prepare_threshold=None,
                row_factory=dict_row,
                application_name=self._name,
                **OPTIONS,
            )
        return self._connection

    def close(self) -> None:
        """Closes the connection; the next use opens another."""
        if self._connection is not None:
            with contextlib.suppress(psycopg.Error):
                self._connection.close()
            self._connection = None
