"""Gives committed events their positions, so that a reader who remembers one misses nothing."""

from __future__ import annotations

from worker_service import metrics, queries
from worker_service.loop import Loop

#: Any number that nothing else in this database locks.
LOCK = 7_305_102_665

#: Events of one batch, and so of one NOTIFY.
BATCH = 1000

#: Seconds between two batches, and between those of more events than `MANY`.
PAUSE, LONG_PAUSE, MANY = 0.02, 0.06, 20


class Sequencer(Loop):
    """Numbers events in id order, contiguously, one process at a time."""

    name = "sequencer"
    pause = PAUSE
    #: A batch costs a commit, however small it is: without a pause, a twelfth of PostgreSQL's time under CreateTask.
    full = BATCH

    def run_once(self) -> int:
        """Numbers one batch; returns how many events that were."""
        connection = self._database.connection
        if not queries.unsequenced(connection):
            self.pause = PAUSE
            return 0
        numbered = queries.sequence(connection, LOCK, BATCH)
        # Where much is written, who watches waits a little longer, and those who write share with fewer batches.
        self.pause = LONG_PAUSE if numbered > MANY else PAUSE
        metrics.SEQUENCED.inc(numbered)
        return numbered
