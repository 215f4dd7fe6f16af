"""How many jobs of a queue to claim at once: as many as take a moment."""

from __future__ import annotations

#: Seconds that a batch should take.
BATCH = 0.05

#: Jobs of the largest batch.
LARGEST = 256

#: What an old measurement weighs against one new, faster one.
MEMORY = 0.5


class Pace:
    """Remembers how long jobs of each queue took lately. One slow batch is believed at once, a fast one by and by."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}

    def size(self, queue: str) -> int:
        """Returns how many jobs to claim: a power of two, so that few different statements are prepared."""
        seconds = self._seconds.get(queue)
        if seconds is None:
            return 1
        fitting = min(LARGEST, max(1, int(BATCH / max(seconds, 1e-6))))
        return 1 << (fitting.bit_length() - 1)

    def note(self, queue: str, jobs: int, seconds: float) -> None:
        """Learns from a batch."""
        if jobs:
            latest = seconds / jobs
            known = self._seconds.get(queue, latest)
            self._seconds[queue] = max(latest, MEMORY * known + (1 - MEMORY) * latest)
