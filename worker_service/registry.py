"""The kinds of job that one worker can run: those that ship, and those that installed packages bring."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import entry_points

from worker_service.jobs import Handler, Job, email, housekeeping, tasks_export, tasks_import

#: The group of entry points that bring kinds.
GROUP = "taskhub.jobs"


class Registry:
    """Handlers by kind. Jobs of other kinds wait for a worker that knows them."""

    def __init__(self, jobs: Iterable[Job]) -> None:
        self._jobs: dict[str, Job] = {}
        for job in jobs:
            if job.kind.name in self._jobs:
                raise ValueError(f"two packages bring the job kind {job.kind.name}")
            self._jobs[job.kind.name] = job

    @property
    def kinds(self) -> list[str]:
        """The names of the kinds."""
        return sorted(self._jobs)

    @property
    def queues(self) -> list[str]:
        """The queues that the kinds wait in."""
        return sorted({job.kind.queue for job in self._jobs.values()})

    def handler(self, kind: str) -> Handler:
        """Returns what runs a job of this kind."""
        return self._jobs[kind].handler

    @property
    def timeouts(self) -> dict[str, float | None]:
        """For each kind, the seconds that an attempt may take."""
        return {name: job.timeout for name, job in self._jobs.items()}

    def pure(self, kind: str) -> bool:
        """Returns whether jobs of this kind have no effect of their own."""
        return self._jobs[kind].pure


def installed() -> Registry:
    """Returns all kinds of this installation. Raises ValueError if two are named alike."""
    shipped = (email.JOB, housekeeping.JOB, tasks_export.JOB, tasks_import.JOB)
    return Registry([*shipped, *(point.load() for point in entry_points(group=GROUP))])
