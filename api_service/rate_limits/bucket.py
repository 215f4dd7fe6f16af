"""What one process may still admit of one caller's calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from api_service.rate_limits.rate import WINDOW_SECONDS, Rate

T = TypeVar("T")


class Answer(NamedTuple):
    """What Redis says to an ask."""

    granted: int
    #: What is left for others to lease.
    remaining: int
    #: Seconds until one more comes free; none if something is left.
    wait: float


class Bucket:
    """Spends what was leased, and goes on on credit while the next lease is asked for: no call waits for it.

    The credit is what Redis could still grant as far as is known here, so that nobody below the limit is refused. It is
    a debt, which the next ask settles whatever is left: the calls of all processes add up to the limit. Times are those
    of the monotonic clock.
    """

    __slots__ = ("_known", "_known_at", "_lease_end", "_tokens", "asking", "closed_until", "debt", "key", "rate")

    def __init__(self, key: str, rate: Rate) -> None:
        self.key = key
        self.rate = rate
        self.debt = 0
        self.asking = False
        #: Until then there is nothing to ask for.
        self.closed_until = 0.0
        self._tokens = 0
        self._lease_end = 0.0
        self._known = float(rate.limit)
        self._known_at = 0.0

    def take(self, now: float) -> float:
        """Admits a call and returns 0, or returns the seconds after which one would be admitted."""
        if self._tokens and now < self._lease_end:
            self._tokens -= 1
            return 0.0
        self._tokens = 0
        if now < self.closed_until:
            return self.closed_until - now
        if self.debt >= max(1.0, self._free(now)):
            return self.rate.interval / 1e6
        self.debt += 1
        return 0.0

    def wants(self, now: float) -> bool:
        """Whether a lease should be asked for: half of the last one is spent, and nobody asks already, or in vain."""
        if self._tokens > self.rate.half_lease or self.asking:
            return False
        return self.debt > 0 or now >= self.closed_until

    def settle(self, answer: Answer | None, debt: int, now: float) -> None:
        """Takes in the answer to an ask that was for `debt` calls made before and a lease; None if there was none."""
        self.asking = False
        if answer is None:
            self.debt = self._tokens = 0
            return
        self.debt -= debt
        self._known, self._known_at = answer.remaining, now
        if answer.granted:
            owed = min(self.debt, answer.granted)
            self.debt -= owed
            self._tokens += answer.granted - owed
            self._lease_end = now + WINDOW_SECONDS
        else:
            self.closed_until = now + answer.wait

    def _free(self, now: float) -> float:
        return min(self.rate.limit, self._known + (now - self._known_at) * 1e6 / self.rate.interval)


class Recent(Generic[T]):
    """What was used lately, by key: at least `half` of them, at most twice as many, however many keys there are."""

    def __init__(self, make: Callable[[str], T], half: int) -> None:
        self._make = make
        self._half = half
        self._young: dict[str, T] = {}
        self._old: dict[str, T] = {}

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def get(self, key: str) -> T:
        """Returns what belongs to `key`, made anew if it is not there, or not any more."""
        found = self._young.get(key)
        return found if found is not None else self._promote(key)

    def _promote(self, key: str) -> T:
        found = self._old.pop(key, None)
        if found is None:
            found = self._make(key)
        if len(self._young) >= self._half:
            self._old, self._young = self._young, {}
        self._young[key] = found
        return found
