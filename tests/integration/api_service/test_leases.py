"""Two processes' limiters in one, before a real Redis: what they promise each other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from api_service.rate_limits import lessor as lessors
from api_service.rate_limits import limiter as limiters
from api_service.rate_limits.lessor import Lessor
from api_service.rate_limits.limiter import Limiter
from api_service.rate_limits.rate import Rate
from tests.support.servers import PATIENCE, Redis

RATE = Rate("test", 60)


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis may be slow, as on a machine that has much to do."""
    monkeypatch.setattr(lessors, "_PATIENCE", PATIENCE)
    monkeypatch.setattr(limiters, "_PATIENCE", PATIENCE)


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


@pytest.mark.usefixtures("unhurried")
async def test_calls_on_credit_are_charged_to_all(redis_url: str) -> None:
    async with limiter(redis_url) as one, limiter(redis_url) as other:
        # Without a turn of the event loop in between: both know of nothing but the limit.
        for each in (one, other):
            assert [each.admit("caller") for _ in range(60)] == [0.0] * 60
        # Once both debts have arrived: one minute's calls of the two were one too many.
        async with asyncio.timeout(PATIENCE):
            while max(each.admit("caller") for each in (one, other)) < 55:  # noqa: ASYNC110  it sets no event of ours
                await asyncio.sleep(0.01)


@pytest.mark.usefixtures("unhurried")
async def test_what_one_has_leased_no_other_gets(redis_url: str) -> None:
    async with limiter(redis_url) as one, limiter(redis_url) as other:
        admitted, began = 0, time.monotonic()
        for _ in range(50):
            for each in (one, other):
                admitted += each.admit("caller") == 0.0
                await asyncio.sleep(0.002)
        refilled = time.monotonic() - began  # one a second
    assert 54 <= admitted <= 62 + refilled


async def test_a_sign_in_waits_for_a_frozen_redis_20_milliseconds_and_then_not_at_all(
    redis_server: Redis, redis_url: str
) -> None:
    async with limiter(redis_url, Rate("strict", 1)) as strict:
        redis_server.freeze()
        try:
            waited = []
            for number in range(20):
                asks, began = not strict._lessor.down, time.monotonic()  # noqa: SLF001  who asks, waits
                assert await strict.admit_strictly(f"another {number}") == 0.0
                waited += [time.monotonic() - began] if asks else []
            assert waited[0] > 0.01, "about 20: the event loop counts from the beginning of its turn"
            assert len(waited) <= 7, "only until it counts as gone, after a tenth of a second"
        finally:
            redis_server.thaw()


@pytest.mark.usefixtures("unhurried")
async def test_who_was_held_up_itself_takes_nobody_for_gone(
    redis_server: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    redis_server.command("CONFIG", "RESETSTAT")
    async with limiter(redis_url, Rate("strict", 1)) as strict:
        assert await strict.admit_strictly("caller") == 0.0
        monkeypatch.setattr(lessors, "_PATIENCE", 0.1)
        monkeypatch.setattr(limiters, "_PATIENCE", 0.1)
        second = asyncio.create_task(strict.admit_strictly("caller"))
        while b"cmdstat_eval:calls=2," not in redis_server.command("INFO", "commandstats"):  # noqa: ASYNC110
            await asyncio.sleep(0)
        time.sleep(0.2)  # noqa: ASYNC251  so is everything here; the answer has come meanwhile
        assert await second > 50
        assert not strict._lessor.down  # noqa: SLF001
