"""Two processes' limiters in one, before a real Redis: what they promise each other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from api_service.rate_limits.lessor import Lessor
from api_service.rate_limits.limiter import Limiter
from api_service.rate_limits.rate import Rate
from tests.support.servers import Redis

RATE = Rate("test", 60)


@asynccontextmanager
async def limiter(url: str, rate: Rate = RATE) -> AsyncIterator[Limiter]:
    """A process's limiter, once Redis has answered it."""
    lessor = Lessor(url)
    loop = asyncio.create_task(lessor.run())
    while lessor.down:  # noqa: ASYNC110  it sets no event of ours
        await asyncio.sleep(0.01)
    yield Limiter(rate, lessor)
    loop.cancel()
    await asyncio.wait([loop])


async def settled(one: Limiter, caller: str) -> float:
    """Returns how long a caller must wait by now, at most, once what is on its way has arrived."""
    await asyncio.sleep(0.1)
    return one.admit(caller)


async def test_calls_on_credit_are_charged_to_all(redis_url: str) -> None:
    async with limiter(redis_url) as one, limiter(redis_url) as other:
        # Without a turn of the event loop in between: both know of nothing but the limit.
        for each in (one, other):
            assert [each.admit("caller") for _ in range(60)] == [0.0] * 60
        waits = [await settled(each, "caller") for each in (one, other)]
    assert max(waits) > 55, "one minute's calls of the two were one too many"


async def test_what_one_has_leased_no_other_gets(redis_url: str) -> None:
    async with limiter(redis_url) as one, limiter(redis_url) as other:
        admitted = 0
        for _ in range(50):
            for each in (one, other):
                admitted += each.admit("caller") == 0.0
                await asyncio.sleep(0.002)
    assert 54 <= admitted <= 62


async def test_a_sign_in_waits_for_a_frozen_redis_20_milliseconds_and_then_not_at_all(
    redis_server: Redis, redis_url: str
) -> None:
    async with limiter(redis_url, Rate("strict", 1)) as strict:
        assert await strict.admit_strictly("caller") == 0.0
        assert await strict.admit_strictly("caller") > 50
        redis_server.freeze()
        try:
            waited = []
            for number in range(20):
                began = time.monotonic()
                assert await strict.admit_strictly(f"another {number}") == 0.0
                waited.append(time.monotonic() - began)
            assert 0.02 <= waited[0] < 0.08
            assert sum(waited) < 0.25, "only until it counts as gone, after a tenth of a second"
        finally:
            redis_server.thaw()
