"""Counts what waits, for Prometheus."""

from __future__ import annotations

from worker_service import metrics, queries
from worker_service.database import Database
from worker_service.loop import Loop

STATES = ("SCHEDULED", "QUEUED", "RETRYING", "RUNNING", "FAILED")


class Gauges(Loop):
    """Sets the gauge of jobs by queue and state. What has gone is zero, not absent."""

    name = "gauges"
    pause = 10.0

    def __init__(self, database: Database, queues: list[str]) -> None:
        super().__init__(database)
        self._seen = {(queue, state) for queue in queues for state in STATES}

    def run_once(self) -> int:
        """Counts once; returns zero, since there is no more to it."""
        counts = {(row["queue"], row["shown"]): row["jobs"] for row in queries.backlog(self._database.connection)}
        self._seen |= counts.keys()
        for queue, state in self._seen:
            metrics.BACKLOG.labels(queue, state).set(counts.get((queue, state), 0))
        return 0
