"""One rate, in the terms of the generic cell rate algorithm (GCRA)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

WINDOW_SECONDS = 60
#: No more than this is leased at once, however generous the rate: what one process holds, no other can give out.
_MAX_LEASE = 1000


@dataclass(frozen=True)
class Rate:
    """So many calls a minute, all of them at once if the caller has been quiet for a minute."""

    name: str
    limit: int

    @cached_property
    def interval(self) -> int:
        """Microseconds in which one call comes free again."""
        return math.ceil(WINDOW_SECONDS * 1_000_000 / self.limit)

    @cached_property
    def lease(self) -> int:
        """How many calls a process asks for at a time: a tenth of the limit."""
        return max(1, min(self.limit // 10, _MAX_LEASE))

    @cached_property
    def half_lease(self) -> int:
        """With so many left it is time for the next."""
        return self.lease // 2
