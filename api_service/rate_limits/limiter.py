"""Decides about calls: at once from a lease, or by asking Redis about each where guessing must not pay."""

from __future__ import annotations

import asyncio
import time

from api_service.rate_limits.bucket import Answer, Bucket, Recent
from api_service.rate_limits.lessor import Ask, Lessor
from api_service.rate_limits.patience import answered
from api_service.rate_limits.rate import Rate

#: Callers of one rate that a process remembers at least; what it knows of one takes about 300 bytes.
_CALLERS = 10_000
#: Seconds that a call waits for Redis where it does.
_PATIENCE = 0.02


class Limiter:
    """Admits calls at one rate."""

    def __init__(self, rate: Rate, lessor: Lessor) -> None:
        self.rate = rate
        self._lessor = lessor
        self._buckets = Recent(lambda caller: Bucket(f"taskhub:rate:{rate.name}:{caller}", rate), _CALLERS)

    def admit(self, caller: str) -> float:
        """Admits a call of `caller` and returns 0, or returns the seconds after which one would be admitted."""
        if self._lessor.down:
            return 0.0
        bucket = self._buckets.get(caller)
        now = time.monotonic()
        wait = bucket.take(now)
        if not wait and bucket.wants(now):
            self._lease(bucket)
        return wait

    def _lease(self, bucket: Bucket) -> None:
        bucket.asking = True
        debt = bucket.debt

        def settle(answer: Answer | None) -> None:
            bucket.settle(answer, debt, time.monotonic())
            if bucket.debt and not self._lessor.down:
                self._lease(bucket)

        self._lessor.ask(Ask(bucket.key, self.rate, debt, self.rate.lease, settle))

    async def admit_strictly(self, caller: str) -> float:
        """Does the same, but asks Redis about each call; one that it does not answer in time is admitted."""
        if self._lessor.down:
            return 0.0
        bucket = self._buckets.get(caller)
        now = time.monotonic()
        if now < bucket.closed_until:
            return bucket.closed_until - now
        settled: asyncio.Future[Answer | None] = asyncio.get_running_loop().create_future()

        def settle(answer: Answer | None) -> None:
            if answer is not None and not answer.granted:
                bucket.closed_until = time.monotonic() + answer.wait
            if not settled.done():
                settled.set_result(answer)

        self._lessor.ask(Ask(bucket.key, self.rate, 0, 1, settle))
        answer = settled.result() if await answered(settled, _PATIENCE) else None
        return answer.wait if answer is not None and not answer.granted else 0.0
