"""Statements that come again and again, executed and read without a cursor.

A cursor of psycopg's rewrites the query, chooses the types of its parameters and how to read its columns, and keeps the
books of what is prepared, for each call anew: half of what a page of tasks took, and a tenth of a CreateTask.
"""

from __future__ import annotations

import re
from binascii import hexlify
from collections.abc import Mapping
from itertools import count
from typing import Any

from psycopg import DataError, errors
from psycopg.adapt import AdaptersMap, Transformer
from psycopg.generators import execute
from psycopg.pq import ExecStatus, Format
from psycopg.pq.abc import PGresult

from api_service.connection import WatchedConnection

#: What is prepared on one connection at most; what was not used for longest goes first.
_MAX_PREPARED = 64

#: What PostgreSQL says where a statement is gone (psycopg ends all of them after a rollback), or where the tables have
#: changed so that it returns something else.
_STALE = (errors.InvalidSqlStatementName, errors.FeatureNotSupported)

_PARAMETER = re.compile(r"%\((\w+)\)s")
_numbers = count()


class Statement:
    """A query, prepared on a connection when it is first executed there. Kept by whoever executes it.

    Parameters are written as psycopg's, `%(name)s`, and go out as text: PostgreSQL has to see their types from where
    they stand. Columns are read in binary, as `adapters` say.
    """

    def __init__(self, sql: str, adapters: AdaptersMap) -> None:
        self.sql = sql
        self._order = list(dict.fromkeys(_PARAMETER.findall(sql)))
        self._numbered = _PARAMETER.sub(lambda found: f"${self._order.index(found[1]) + 1}", sql).encode()
        self._adapters = adapters
        self._transformer = Transformer(self)

    @property
    def adapters(self) -> AdaptersMap:
        """How columns are read."""
        return self._adapters

    @property
    def connection(self) -> None:
        """None: the loaders are the same for every connection."""

    async def fetch(self, connection: WatchedConnection, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """Returns all rows. A parameter is what `str` makes of it; bytes are bytes, and None is null.

        What changes something stands outside a transaction: in one, a statement that is gone cannot be prepared again.
        """
        values = [_text(parameters[name]) for name in self._order]
        try:
            return self._rows(await self._execute(connection, values))
        except _STALE:
            connection.statements.pop(self, None)
            return self._rows(await self._execute(connection, values))

    async def _execute(self, connection: WatchedConnection, values: list[bytes | None]) -> PGresult:
        statements = connection.statements
        name = statements.pop(self, None) or await self._prepare(connection)
        statements[self] = name  # behind the others
        connection.pgconn.send_query_prepared(name, values, None, Format.BINARY)
        return await _result(connection, ExecStatus.TUPLES_OK)

    async def _prepare(self, connection: WatchedConnection) -> bytes:
        statements = connection.statements
        if len(statements) >= _MAX_PREPARED:
            connection.pgconn.send_close_prepared(statements.pop(next(iter(statements))))
            await _result(connection, ExecStatus.COMMAND_OK)
        name = b"taskhub_%d" % next(_numbers)
        connection.pgconn.send_prepare(name, self._numbered)
        await _result(connection, ExecStatus.COMMAND_OK)
        return name

    def _rows(self, result: PGresult) -> list[tuple[Any, ...]]:
        transformer = self._transformer
        transformer.set_pgresult(result)
        rows = transformer.load_rows(0, result.ntuples, tuple)
        transformer.set_pgresult(None)  # or a large page would be kept until the next one comes
        return rows


def _text(value: Any) -> bytes | None:
    if value is None:
        return None
    if isinstance(value, bytes):
        return b"\\x" + hexlify(value)
    text = str(value).encode()
    if b"\0" in text:  # where libpq would end it
        raise DataError("a text cannot hold NUL")
    return text


async def _result(connection: WatchedConnection, expected: ExecStatus) -> PGresult:
    result: PGresult
    [result] = await connection.wait(execute(connection.pgconn))
    if result.status != expected:
        raise errors.error_from_result(result)
    return result
