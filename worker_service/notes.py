"""How attempts ended, for the log and the metrics. Written in bunches: one by one they would cost a tenth of a job."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from select import PIPE_BUF
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
        for job, _, seconds, _, _ in ended:
            metrics.START_LATENCY.labels(job.queue).observe(max(0.0, job.latency))
            metrics.DURATION.labels(job.kind).observe(seconds)
        for (kind, outcome), attempts in Counter((each.job.kind, each.outcome) for each in ended).items():
            metrics.FINISHED.labels(kind, outcome).inc(attempts)
        if self._enabled:
            self._log(each for each in ended if each.logged)

    def _log(self, ended: Iterable[Ended]) -> None:
        with contextlib.suppress(OSError):  # a full disk is no job's business
            # The stream empties its buffer at the end of each line: one by one they would be as many system calls.
            for lines in _chunks(map(_line, ended)):
                self._stream.write(lines)
            self._stream.flush()


def _chunks(lines: Iterable[str]) -> Iterator[str]:
    """Joins lines to what a pipe takes as one, so that nothing of other processes comes in between."""
    chunk = ""
    for line in lines:
        if chunk and len(chunk) + len(line) > PIPE_BUF:
            yield chunk
            chunk = ""
        chunk += line
    if chunk:
        yield chunk


def _line(ended: Ended) -> str:
    job, outcome, seconds, when, _ = ended
    return (
        f'{{"event": "attempt_ended", "level": "info", "timestamp": "{datetime.fromtimestamp(when, UTC).isoformat()}",'
        f' "service": "worker", "outcome": "{outcome}", "seconds": {seconds:.3f}, "job": "{job.id}",'
        f' "kind": {json.dumps(job.kind)}, "attempt": {job.attempt}}}\n'
    )
