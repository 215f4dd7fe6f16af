"""How attempts ended, for the log and the metrics. Written in bunches: one by one they would cost a tenth of a job."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NamedTuple, TextIO

from shared.states import AttemptState
from worker_service import metrics
from worker_service.queries import Claimed

#: Seconds after which notes are written, at the latest when the next attempt ends or the batch is through.
INTERVAL = 0.1


class Ended(NamedTuple):
    """An attempt that ended."""

    job: Claimed
    outcome: AttemptState
    seconds: float
    #: In seconds since 1970.
    time: float
    #: Whether the log gets a line.
    logged: bool


class Notes:
    """Keeps what is to be said of attempts for a moment."""

    def __init__(self, *, enabled: bool, stream: TextIO = sys.stderr) -> None:
        self._enabled = enabled
        self._stream = stream
        self._ended: list[Ended] = []
        self._written = time.monotonic()

    def take(self, job: Claimed, outcome: AttemptState, seconds: float, *, logged: bool) -> None:
        """Notes how an attempt ended."""
        self._ended.append(Ended(job, outcome, seconds, time.time(), logged))
        if time.monotonic() - self._written > INTERVAL:
            self.write()

    def write(self) -> None:
        """Counts and logs what was noted."""
        ended, self._ended = self._ended, []
        self._written = time.monotonic()
        for job, outcome, seconds, _, _ in ended:
            metrics.START_LATENCY.labels(job.queue).observe(max(0.0, job.latency))
            metrics.FINISHED.labels(job.kind, outcome).inc()
            metrics.DURATION.labels(job.kind).observe(seconds)
        if self._enabled:
            self._log(each for each in ended if each.logged)

    def _log(self, ended: Iterable[Ended]) -> None:
        with contextlib.suppress(OSError):  # a full disk is no job's business
            self._stream.writelines(map(_line, ended))
            self._stream.flush()


def _line(ended: Ended) -> str:
    job, outcome, seconds, when, _ = ended
    return (
        f'{{"event": "attempt_ended", "level": "info", "timestamp": "{datetime.fromtimestamp(when, UTC).isoformat()}",'
        f' "service": "worker", "outcome": "{outcome}", "seconds": {seconds:.3f}, "job": "{job.id}",'
        f' "kind": {json.dumps(job.kind)}, "attempt": {job.attempt}}}\n'
    )
