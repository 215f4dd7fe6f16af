"""The kinds of job that ship, as far as both services must know them: where they wait, and how often they are tried."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class JobKind:
    """What enqueueing needs to know of a kind. What running it means stands in `worker_service.jobs`."""

    name: str
    queue: str
    #: Between the first attempt and the last lie about 2 hours with the default backoff.
    max_attempts: int


EMAIL = JobKind("email", queue="email", max_attempts=32)
HOUSEKEEPING = JobKind("housekeeping", queue="housekeeping", max_attempts=5)

#: Made by ExportTasks and ImportTasks only: their arguments say what the caller may see, and are believed.
TASKS_EXPORT = JobKind("tasks.export", queue="files", max_attempts=8)
TASKS_IMPORT = JobKind("tasks.import", queue="files", max_attempts=8)
