"""Gives committed events their positions, so that a reader who remembers one misses nothing."""

from __future__ import annotations

from worker_service import metrics, queries
from worker_service.loop import Loop

#: Any number that nothing else in this database locks.
LOCK = 7_305_102_665

#: Events of one batch, and so of one NOTIFY.
BATCH = 1000


class Sequencer(Loop):
    """Numbers events in id order, contiguously, one process at a time."""

    name = "sequencer"
    pause = 0.02
    #: A batch costs a commit, however small it is: without a pause, a twelfth of PostgreSQL's time under CreateTask.
    full = BATCH

    def run_once(self) -> int:
        """Numbers one batch; returns how many events that were."""
        connection = self._database.connection
        if not queries.unsequenced(connection):
            return 0
        numbered = queries.sequence(connection, LOCK, BATCH)
        metrics.SEQUENCED.inc(numbered)
        return numbered
