"""Ends the leases of workers that are gone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import structlog

from worker_service import metrics, queries
from worker_service.database import Database
from worker_service.errors import AttemptLost
from worker_service.loop import Loop

log = structlog.get_logger(__name__)


#: Seconds without a sign of life after which a worker whose session is gone is given up.
SILENCE = 3.0


#: Longest time from one turn to the next that counts as regular.
STALL = timedelta(seconds=2)


class Reaper(Loop):
    """The only one that takes a running job from its worker."""

    name = "reaper"
    pause = 0.5

    def __init__(self, database: Database, lease: float, silence: float = SILENCE) -> None:
        super().__init__(database)
        self._lease = lease
        self._silence = timedelta(seconds=silence)
        #: By PostgreSQL's clock: the last turn, and the first of those that came regularly.
        self._last = self._first = datetime.min.replace(tzinfo=UTC)

    def run_once(self) -> int:
        """Ends the leases whose time is over, or whose worker is gone; returns how many.

        Where PostgreSQL, the way to it or this process stood still, healthy workers may have been held up as well: they
        are given the time to report.
        """
        connection = self._database.connection
        now = queries.clock(connection)
        if abs(now - self._last) > STALL:  # also where PostgreSQL's clock was put back
            self._first = now
        self._last = now
        if now - self._first < self._silence:
            return 0
        silence = self._silence.total_seconds()
        reaped = queries.reap(connection, self._lease, silence, AttemptLost(), until=now + STALL)
        for job in reaped:
            log.warning("attempt_lost", job=str(job.id), kind=job.kind, attempt=job.attempt, state=job.state)
            metrics.FINISHED.labels(job.kind, "LOST").inc()
        return len(reaped)
