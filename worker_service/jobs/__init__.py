"""What a kind of job is. A package brings its own by an entry point that names a `Job`.

[project.entry-points."taskhub.jobs"]
report = "acme_jobs.report:REPORT"
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from shared.kinds import JobKind
from worker_service.context import Context

#: Returns the job's result, or raises: a PermanentError ends the job, anything else the attempt.
Handler = Callable[[Context], Mapping[str, Any] | None]


@dataclass(frozen=True, slots=True)
class Job:
    """A kind and what running it means."""

    kind: JobKind
    handler: Handler
    #: No effect of its own, inside the database or outside: such jobs finish in groups, and may run again for nothing.
    pure: bool = False
    #: Seconds after which an attempt is interrupted and has failed.
    timeout: float | None = None
