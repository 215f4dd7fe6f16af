"""Ends the leases of workers that are gone."""

from __future__ import annotations

import structlog

from worker_service import metrics, queries
from worker_service.database import Database
from worker_service.errors import AttemptLost
from worker_service.loop import Loop

log = structlog.get_logger(__name__)


#: Seconds without a sign of life after which a worker whose session is gone is given up.
SILENCE = 3.0


class Reaper(Loop):
    """The only one that takes a running job from its worker."""

    name = "reaper"
    pause = 0.5

    def __init__(self, database: Database, lease: float, silence: float = SILENCE) -> None:
        super().__init__(database)
        self._lease = lease
        self._silence = silence

    def run_once(self) -> int:
        """Ends the leases whose time is over, or whose worker is gone; returns how many."""
        reaped = queries.reap(self._database.connection, self._lease, self._silence, AttemptLost())
        for job in reaped:
            log.warning("attempt_lost", job=str(job.id), kind=job.kind, attempt=job.attempt, state=job.state)
            metrics.FINISHED.labels(job.kind, "LOST").inc()
        return len(reaped)
