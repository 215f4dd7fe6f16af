"""Asks Redis for the calls that this process may admit, in the background, for many callers at a time.

Whatever is wrong with Redis, limits are off until it answers again: a rate limiter must not be an outage of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, NamedTuple

import structlog
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from api_service.metrics import RATE_LIMIT_DEGRADED
from api_service.rate_limits.bucket import Answer
from api_service.rate_limits.patience import answered
from api_service.rate_limits.rate import Rate

log = structlog.get_logger()

#: Seconds that Redis has for an answer before it counts as gone. Nobody waits that long for it.
_PATIENCE = 0.1
#: The same while it counts as gone, when there is time for a connection through TLS to another place.
_PROBE_PATIENCE = 1.0
#: Seconds between two looks whether it is back.
_PAUSE = 1.0
#: Asks in one command. Redis does nothing else meanwhile.
_BATCH = 200

#: GCRA with Redis's clock. A key holds the time at which its caller has nothing left to catch up with; it is gone once
#: that is over, so that a lost one is a caller who was quiet. A debt is charged in any case. The nearer the limit, the
#: smaller the leases, or the last calls would lie in processes that the caller does not reach. A key that holds
#: anything else, from a wrong clock or from another's hand, is overwritten: its caller waits for two windows at most,
#: and nobody else goes without limits.
_SCRIPT = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local answers = {}
for i, key in ipairs(KEYS) do
  local interval, limit = tonumber(ARGV[4 * i - 3]), tonumber(ARGV[4 * i - 2])
  local debt, wanted = tonumber(ARGV[4 * i - 1]), tonumber(ARGV[4 * i])
  local held = redis.pcall('GET', key)
  local busy_until = type(held) == 'string' and tonumber(held) or now
  if not (busy_until > now) then busy_until = now end
  busy_until = math.min(busy_until, now + 2 * limit * interval) + debt * interval
  local free = math.floor(limit - (busy_until - now) / interval)
  local granted = free > 0 and math.min(wanted, math.max(1, math.floor(free / 4))) or 0
  busy_until = busy_until + granted * interval
  if busy_until > now then
    redis.call('SET', key, string.format('%.0f', busy_until), 'PX', math.ceil((busy_until - now) / 1000))
  end
  local wait = free > 0 and 0 or busy_until + interval - limit * interval - now
  answers[i] = {granted, math.max(0, free - granted), string.format('%.0f', wait)}
end
return answers
"""


class Ask(NamedTuple):
    """What one caller's limit is asked for, and who wants to hear the answer, or None if there is none."""

    key: str
    rate: Rate
    #: Calls that were admitted already.
    debt: int
    wanted: int
    settle: Callable[[Answer | None], None]


class Lessor:
    """One connection and one loop: what was asked for while Redis thought goes out together."""

    def __init__(self, url: str | None) -> None:
        #: Whether limits are off. So it begins, until Redis has answered for the first time.
        self.down = True
        self._redis = _client(url) if url else None
        self._asks: list[Ask] = []
        self._asked = asyncio.Event()
        self._told = False
        RATE_LIMIT_DEGRADED.set(1)

    def ask(self, ask: Ask) -> None:
        """Sends the ask with the next command."""
        if self.down:
            ask.settle(None)
        else:
            self._asks.append(ask)
            self._asked.set()

    async def run(self) -> None:
        """Asks until it is cancelled; after a failure it leaves Redis alone for a while."""
        if self._redis is None:
            log.warning("rate_limits_off", reason="the broker is no Redis, and TASKHUB_RATE_LIMIT_URL is not set")
            return
        try:
            while True:
                try:
                    await self._serve(self._redis)
                except Exception as error:  # noqa: BLE001  whatever it is, callers are not to suffer for it
                    self._go_down(error)
                await asyncio.sleep(_PAUSE)
        finally:
            self._go_down(None)
            with contextlib.suppress(RedisError, OSError, TimeoutError):
                async with asyncio.timeout(_PATIENCE):
                    await self._redis.aclose()

    async def _serve(self, redis: Redis) -> None:
        async with asyncio.timeout(_PROBE_PATIENCE):
            await redis.ping()
        self._come_up()
        while True:
            # At times with nothing to ask, so that it is not a caller who finds out that Redis is gone.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_PAUSE):
                    await self._asked.wait()
            asks, self._asks = self._asks[:_BATCH], self._asks[_BATCH:]
            if not self._asks:
                self._asked.clear()
            await self._send(redis, asks)

    async def _send(self, redis: Redis, asks: list[Ask]) -> None:
        arguments = [number for ask in asks for number in (ask.rate.interval, ask.rate.limit, ask.debt, ask.wanted)]
        answers: list[Any] = []
        # The text each time, not its digest: a Redis that has restarted knows no digest.
        evaluated = asyncio.ensure_future(redis.eval(_SCRIPT, len(asks), *(ask.key for ask in asks), *arguments))
        try:
            if not await answered(evaluated, _PATIENCE):
                raise TimeoutError
            answers = evaluated.result()
        finally:
            evaluated.cancel()
            for ask in asks[len(answers) :]:
                ask.settle(None)
        for ask, (granted, remaining, wait) in zip(asks, answers, strict=True):
            ask.settle(Answer(granted, remaining, float(wait) / 1e6))

    def _come_up(self) -> None:
        self.down = False
        RATE_LIMIT_DEGRADED.set(0)
        if self._told:
            log.info("rate_limits_restored")
            self._told = False

    def _go_down(self, error: Exception | None) -> None:
        self.down = True
        RATE_LIMIT_DEGRADED.set(1)
        if error is not None and not self._told:
            log.warning("rate_limits_degraded", error=type(error).__name__)
            self._told = True
        asks, self._asks = self._asks, []
        self._asked.clear()
        for ask in asks:
            ask.settle(None)


def _client(url: str) -> Redis:
    """Returns a client that gives up at once: with redis-py's own retries a dead Redis costs 4.6 s a command.

    It makes no limit of its own for an answer; ours breaks the connection off.
    """
    client: Redis = Redis.from_url(
        url,
        retry=Retry(NoBackoff(), 0),
        socket_timeout=None,
        socket_connect_timeout=None,
        client_name="taskhub-api",
    )
    return client
