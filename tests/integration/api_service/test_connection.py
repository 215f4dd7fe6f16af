"""What the connections of the API do beyond psycopg's own: the socket stays in the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import psycopg
import pytest
from psycopg import AsyncConnection
from psycopg.pq import TransactionStatus

from api_service.connection import WatchedConnection


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[WatchedConnection]:
    found = await WatchedConnection.connect(database_url, autocommit=True)
    yield found
    found.release()
    await found.close()


async def one(connection: WatchedConnection, statement: str = "SELECT 1") -> object:
    row = await (await connection.execute(statement)).fetchone()
    assert row is not None
    return row[0]


async def test_a_cancelled_query_is_cancelled_on_the_server_and_the_connection_goes_on(
    connection: WatchedConnection, database_url: str
) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await connection.execute("SELECT pg_sleep(86400)")
    assert connection.pgconn.transaction_status == TransactionStatus.IDLE
    assert [await one(connection, f"SELECT {n}") for n in range(3)] == [0, 1, 2]
    async with await AsyncConnection.connect(database_url) as other:
        row = await (
            await other.execute("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%(86400)'")
        ).fetchone()
    assert row == (0,)


async def test_a_thousand_cancelled_at_any_moment_leave_it_usable(connection: WatchedConnection) -> None:
    for n in range(1000):
        task = asyncio.create_task(one(connection))
        for _ in range(n % 7):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert connection.pgconn.transaction_status == TransactionStatus.IDLE
    assert await one(connection, "SELECT 42") == 42


async def test_what_waits_in_another_way_still_does(connection: WatchedConnection) -> None:
    await connection.execute("CREATE TEMP TABLE lines (line text)")
    async with connection.cursor() as cursor:
        async with cursor.copy("COPY lines FROM STDIN") as copy:
            for n in range(20_000):
                await copy.write_row([f"{n} " + "x" * 200])
        await cursor.executemany("INSERT INTO lines VALUES (%s)", [[str(n)] for n in range(500)])
    async with connection.pipeline():
        await connection.execute("INSERT INTO lines VALUES ('piped')")
    rows = await (await connection.execute("SELECT line FROM lines")).fetchall()
    assert len(rows) == 20_501
    assert await one(connection) == 1


async def test_a_server_that_says_goodbye_wakes_the_event_loop_once(
    connection: WatchedConnection, database_url: str
) -> None:
    await one(connection)
    assert not connection.hung_up()
    async with await AsyncConnection.connect(database_url, autocommit=True) as other:
        await other.execute("SELECT pg_terminate_backend(%s, 5000)", (connection.info.backend_pid,))
    assert connection.hung_up()
    await asyncio.sleep(0.01)  # one turn of the event loop, which sees the socket
    assert connection._watched is None  # noqa: SLF001  else the loop would spin


async def test_a_server_that_dies_in_the_middle_is_an_error_for_the_one_who_waits(
    connection: WatchedConnection, database_url: str
) -> None:
    waiting = asyncio.create_task(connection.execute("SELECT pg_sleep(86400)"))
    async with await AsyncConnection.connect(database_url, autocommit=True) as other:
        query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
        while not await (await other.execute(query)).fetchall():  # noqa: ASYNC110  PostgreSQL sets no event of ours
            await asyncio.sleep(0.01)
    with pytest.raises(psycopg.OperationalError):
        await waiting
    assert connection._watched is None  # noqa: SLF001  the number of its socket may be another's now
