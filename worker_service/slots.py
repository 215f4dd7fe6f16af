"""Which processes of the pool are busy, in memory that they share: Celery's own books have been seen to be wrong."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

#: One byte for each pid that Linux may give out; untouched pages cost nothing.
PIDS = 1 << 22


class Slots:
    """Made before the pool is forked."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, PIDS)

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Marks this process as busy inside the block."""
        pid = os.getpid()
        self._memory[pid] = 1
        try:
            yield
        finally:
            self._memory[pid] = 0

    def clear(self) -> None:
        """Marks this process as idle: an earlier one of its pid may have died while it was busy."""
        self._memory[os.getpid()] = 0

    def free(self, pids: Iterable[int]) -> bool:
        """Returns whether any of these processes is idle."""
        return any(not self._memory[pid] for pid in pids)

    def idle(self, pids: Iterable[int]) -> bool:
        """Returns whether all of these processes are."""
        return not any(self._memory[pid] for pid in pids)
