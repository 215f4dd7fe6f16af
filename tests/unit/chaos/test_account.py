"""What a log of CI says of a row that failed."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

from tests.chaos.account import account
from tests.chaos.evidence import Evidence
from tests.chaos.scene import Injected

JOB, OTHER = str(uuid.uuid4()), str(uuid.uuid4())
BEGAN = 1_700_000_000.0
EARLIER, LATER = "2023-11-14T22:13:19Z", "2023-11-14T22:13:21Z"


def evidence(logs: Path) -> Evidence:
    """Returns that of a row with two jobs, one of which was tried twice."""
    ledger = [{"what": "sent", "time": BEGAN, "job": job, "kind": "chaos.row"} for job in (JOB, OTHER)]
    found = Evidence(ledger, [], "", logs, {}, {}, None, 5)
    found.jobs = {job: {"id": job, "state": "SUCCEEDED", "result": None} for job in (JOB, OTHER)}
    found.attempts = {JOB: [{"state": "FAILED", "worker": "one"}, {"state": "SUCCEEDED", "worker": "two"}]}
    return found


def line(when: str, level: str, event: str, **fields: Any) -> str:
    return json.dumps({"timestamp": when, "level": level, "event": event, **fields})


def test_a_violation_is_told_with_its_faults_attempts_and_log_lines(tmp_path: Path) -> None:
    lines = [
        "nobody knows when",
        line(EARLIER, "error", "before", job=JOB),
        line(LATER, "info", "of it", job=JOB),
        line(LATER, "info", "of another", job=OTHER),
        line(LATER, "warning", "loud"),
        "no object at all",
    ]
    (tmp_path / "worker.log").write_text("\n".join(lines))
    told = account(evidence(tmp_path), [Injected(BEGAN + 1, "SIGKILL worker", 7)], [f"job {JOB} is wrong"])
    assert told == [
        "began at 22:13:20.000000",
        "22:13:21.000000 SIGKILL worker (pid 7)",
        f"22:13:20.000000 a client: sent {{'job': '{JOB}', 'kind': 'chaos.row'}}",
        f"the job: id {JOB}, state SUCCEEDED",
        "an attempt: state FAILED, worker one",
        "an attempt: state SUCCEEDED, worker two",
        *(f"worker.log: {lines[n]}" for n in (2, 4, 5)),
    ]
