"""Statements that are executed without a cursor: prepared once, and again where they are gone."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator

import psycopg
import pytest
from psycopg import adapters
from psycopg.pq import TransactionStatus

from api_service.connection import WatchedConnection
from api_service.prepared import Statement

PREPARED = "SELECT count(*) FROM pg_prepared_statements WHERE name LIKE 'taskhub_%'"


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[WatchedConnection]:
    found = await WatchedConnection.connect(database_url, autocommit=True)
    yield found
    found.release()
    await found.close()


def statement(sql: str) -> Statement:
    return Statement(sql, adapters)


async def prepared(connection: WatchedConnection) -> object:
    row = await (await connection.execute(PREPARED)).fetchone()
    assert row is not None
    return row[0]


async def test_values_are_what_their_places_want(connection: WatchedConnection) -> None:
    asked = statement("SELECT n, %(id)s::uuid, %(id)s::uuid IS NULL FROM generate_series(1, 9) AS n LIMIT %(limit)s")
    id_ = uuid.uuid4()
    assert await asked.fetch(connection, {"limit": 2, "id": id_}) == [(1, id_, False), (2, id_, False)]
    assert await asked.fetch(connection, {"limit": 0, "id": id_}) == []
    assert await prepared(connection) == 1


async def test_null_and_bytes_arrive_as_such(connection: WatchedConnection) -> None:
    asked = statement("SELECT %(nothing)s::text, %(raw)s::bytea, %(empty)s::bytea, %(text)s::text")
    values = {"nothing": None, "raw": b"\x00\xff\\", "empty": b"", "text": "\\x00 ü"}
    assert await asked.fetch(connection, values) == [(None, b"\x00\xff\\", b"", "\\x00 ü")]


async def test_a_text_is_refused_rather_than_cut_off(connection: WatchedConnection) -> None:
    with pytest.raises(psycopg.DataError):
        await statement("SELECT %(text)s::text").fetch(connection, {"text": "a\0b"})


async def test_a_rollback_takes_away_what_is_prepared_and_nobody_notices(connection: WatchedConnection) -> None:
    asked = statement("SELECT 1")
    for _ in range(2):
        assert await asked.fetch(connection, {}) == [(1,)]
        async with connection.transaction(force_rollback=True):
            await connection.execute("SELECT 1", prepare=True)
        await connection.execute("SELECT 1")  # psycopg tidies up
        assert await prepared(connection) == 0
    assert await asked.fetch(connection, {}) == [(1,)]


async def test_a_column_of_another_type_is_read_as_such(connection: WatchedConnection) -> None:
    await connection.execute("CREATE TEMP TABLE things (thing integer); INSERT INTO things VALUES (7)")
    asked = statement("SELECT thing FROM things")
    assert await asked.fetch(connection, {}) == [(7,)]
    await connection.execute("ALTER TABLE things ALTER thing TYPE text")
    assert await asked.fetch(connection, {}) == [("7",)]


async def test_only_so_many_are_kept_those_that_were_used_last(connection: WatchedConnection) -> None:
    often = statement("SELECT 0")
    for n in range(1, 200):
        assert await statement(f"SELECT {n}").fetch(connection, {}) == [(n,)]
        assert await often.fetch(connection, {}) == [(0,)]
    assert await prepared(connection) == len(connection.statements) == 64
    assert often in connection.statements


async def test_what_goes_wrong_is_psycopgs_error(connection: WatchedConnection) -> None:
    with pytest.raises(psycopg.errors.DivisionByZero):
        await statement("SELECT 1 / %(n)s").fetch(connection, {"n": 0})
    with pytest.raises(psycopg.errors.UndefinedTable):
        await statement("SELECT FROM nowhere").fetch(connection, {})
    assert await statement("SELECT 1").fetch(connection, {}) == [(1,)]


async def test_a_thousand_cancelled_at_any_moment_leave_it_usable(connection: WatchedConnection) -> None:
    for n in range(1000):
        task = asyncio.create_task(statement("SELECT 1").fetch(connection, {}))
        for _ in range(n % 7):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert connection.pgconn.transaction_status == TransactionStatus.IDLE
    assert await statement("SELECT 42").fetch(connection, {}) == [(42,)]


async def test_a_connection_that_is_gone_is_an_operational_error(
    connection: WatchedConnection, database_url: str
) -> None:
    asked = statement("SELECT 1")
    await asked.fetch(connection, {})
    with psycopg.connect(database_url, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", (connection.info.backend_pid,))
    with pytest.raises(psycopg.OperationalError):
        await asked.fetch(connection, {})
