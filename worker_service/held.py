"""What one process holds leases of: shared by the thread that runs jobs and the one that keeps their leases."""

from __future__ import annotations

import time
import uuid
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock

from shared.errors import TaskHubError
from worker_service.queries import Claimed, Done


@dataclass(slots=True)
class Current:
    """The job whose handler runs."""

    job: Claimed
    #: By the monotonic clock.
    start: float
    cancel_time: float | None = None
    #: Why the handler was told to stop, and when.
    verdict: TaskHubError | None = None
    doom_time: float = 0.0
    #: False from the moment that the handler returned: what is being written then is written.
    interruptible: bool = True
    #: What is to be shown of it with the next beat.
    progress: tuple[float, str] | None = None


class Held:
    """A batch on its way: jobs that wait for their turn, the one that runs, and pure ones that ran."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._waiting: deque[Claimed] = deque()
        self._group: list[Done] = []
        self._group_start = 0.0
        self.current: Current | None = None
        #: Set by whoever wants the process to end: nothing more begins.
        self.closed = False

    def fill(self, jobs: Sequence[Claimed]) -> None:
        """Takes over a fresh batch."""
        with self._lock:
            self._waiting.extend(jobs)

    def begin(self) -> Current | None:
        """Returns the next job, which runs from now on, or None if there is none left, or none is to begin."""
        with self._lock:
            begins = self._waiting and not self.closed
            self.current = Current(self._waiting.popleft(), time.monotonic()) if begins else None
            return self.current

    def end(self, done: Done | None = None) -> None:
        """The handler has returned; `done` is what remains to be written in a group."""
        with self._lock:
            self.current = None
            if done is not None:
                if not self._group:
                    self._group_start = time.monotonic()
                self._group.append(done)

    def take_waiting(self) -> list[Claimed]:
        """Returns the jobs that have not started, which are the caller's from now on."""
        with self._lock:
            taken = list(self._waiting)
            self._waiting.clear()
            return taken

    def take_group(self, age: float = 0.0) -> list[Done]:
        """Returns what remains to be written if the oldest has waited for `age` seconds."""
        with self._lock:
            if not self._group or time.monotonic() - self._group_start < age:
                return []
            taken, self._group = self._group, []
            return taken

    def return_group(self, group: list[Done]) -> None:
        """Takes back what could not be written."""
        with self._lock:
            self._group[:0] = group

    def all(self) -> dict[uuid.UUID, int]:
        """Returns the claim token of each job."""
        with self._lock:
            jobs = [*self._waiting, *(done.job for done in self._group)]
            if self.current is not None:
                jobs.append(self.current.job)
            return {job.id: job.claim_token for job in jobs}
