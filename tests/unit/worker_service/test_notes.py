from __future__ import annotations

import errno
import io
import json
import uuid
from datetime import datetime
from select import PIPE_BUF

from shared.states import AttemptState
from worker_service import metrics
from worker_service.notes import Notes
from worker_service.queries import Claimed


def job(kind: str = 'a "kind"') -> Claimed:
    return Claimed(uuid.UUID(int=7), kind, "probe", {"secret": "x"}, 2, 3, 5, None, 0.25)


def test_an_attempt_is_one_json_line_without_its_arguments() -> None:
    stream = io.StringIO()
    notes = Notes(enabled=True, stream=stream)
    notes.take(job(), AttemptState.SUCCEEDED, 0.1234, logged=True)
    notes.take(job(), AttemptState.SUCCEEDED, 0.1, logged=False)
    notes.write()
    (line,) = stream.getvalue().splitlines()
    found = json.loads(line)
    assert datetime.fromisoformat(found.pop("timestamp")).tzinfo is not None
    assert found == {
        "event": "attempt_ended", "level": "info", "service": "worker", "outcome": "SUCCEEDED", "seconds": 0.123,
        "job": str(uuid.UUID(int=7)), "kind": 'a "kind"', "attempt": 2,
    }  # fmt: skip


def test_what_is_not_logged_is_counted_all_the_same() -> None:
    notes = Notes(enabled=False, stream=io.StringIO())
    before = metrics.FINISHED.labels("quiet", AttemptState.LOST)._value.get()  # noqa: SLF001  the metric's own number
    notes.take(job("quiet"), AttemptState.LOST, 0.1, logged=True)
    notes.write()
    assert metrics.FINISHED.labels("quiet", AttemptState.LOST)._value.get() == before + 1  # noqa: SLF001


class FullDisk(io.StringIO):
    tried = 0

    def flush(self) -> None:
        self.tried += 1
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_ends_no_batch() -> None:
    disk = FullDisk()
    notes = Notes(enabled=True, stream=disk)
    notes.take(job(), AttemptState.SUCCEEDED, 0.1, logged=True)
    notes.write()
    assert disk.tried == 1


def test_lines_go_out_together_as_far_as_a_pipe_takes_them_as_one() -> None:
    written: list[str] = []

    class Stream(io.StringIO):
        def write(self, text: str) -> int:
            written.append(text)
            return len(text)

    notes = Notes(enabled=True, stream=Stream())
    for _ in range(100):
        notes.take(job(), AttemptState.SUCCEEDED, 0.1, logged=True)
    notes.write()
    assert len("".join(written).splitlines()) == 100
    assert len(written) < 20
    assert all(len(text) <= PIPE_BUF and text.endswith("\n") for text in written)
