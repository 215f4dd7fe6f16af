"""Asks for housekeeping once a period."""

from __future__ import annotations

from shared.kinds import HOUSEKEEPING
from shared.outbox import new_job
from worker_service import queries
from worker_service.database import Database
from worker_service.loop import Loop

#: Any number that nothing else in this database locks.
LOCK = 7_305_102_667


class Housekeeper(Loop):
    """Enqueues the job `housekeeping`, one for all copies of this loop."""

    name = "housekeeper"
    pause = 10.0

    def __init__(self, database: Database, period: float) -> None:
        super().__init__(database)
        self._period = period

    def run_once(self) -> int:
        """Enqueues one if it is time; returns whether it was, as 0: there is nothing more to do at once."""
        queries.enqueue_once_a_period(self._database.connection, LOCK, self._period, new_job(HOUSEKEEPING, {}))
        return 0
