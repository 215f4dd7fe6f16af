from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from psycopg import AsyncConnection
from psycopg.pq import TransactionStatus

from api_service.pool import Pool
from shared.errors import Unavailable
from tests.support.servers import PATIENCE


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    found = Pool(database_url, 1, PATIENCE, autocommit=True)
    found.open()
    yield found
    await found.close()


async def test_a_connection_goes_to_the_one_that_waited_longest(pool: Pool) -> None:
    connection = await pool.take()
    first, second = asyncio.create_task(pool.take()), asyncio.create_task(pool.take())
    await asyncio.sleep(0)
    pool.give(connection)
    assert await first is connection
    assert not second.done()
    pool.give(connection)
    assert await second is connection
    pool.give(connection)


async def test_a_waiter_that_is_cancelled_when_its_connection_comes_passes_it_on(pool: Pool) -> None:
    connection = await pool.take()
    unlucky, next_ = asyncio.create_task(pool.take()), asyncio.create_task(pool.take())
    await asyncio.sleep(0)
    pool.give(connection)
    unlucky.cancel()
    assert await next_ is connection
    pool.give(connection)


async def test_nobody_waits_for_longer_than_its_patience() -> None:
    pool = Pool("postgresql://127.0.0.1:1/nobody_listens", 1, 0.05)
    pool.open()
    with pytest.raises(Unavailable):
        await pool.take()
    await pool.close()


async def test_a_connection_in_an_open_transaction_is_not_lent_again(pool: Pool) -> None:
    connection = await pool.take()
    await connection.execute("BEGIN")
    pool.give(connection)
    other = await pool.take()
    assert other is not connection
    assert connection.closed
    assert other.pgconn.transaction_status == TransactionStatus.IDLE
    pool.give(other)


async def test_a_connection_that_died_in_idleness_is_not_lent(pool: Pool, database_url: str) -> None:
    connection = await pool.take()
    pid = connection.info.backend_pid
    pool.give(connection)
    async with await AsyncConnection.connect(database_url, autocommit=True) as admin:
        await admin.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))
    other = await pool.take()
    assert other.info.backend_pid != pid
    await other.execute("SELECT 1")
    pool.give(other)
