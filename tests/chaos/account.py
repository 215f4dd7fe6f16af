"""Why a row failed, as far as it can be told: a log of CI is all that anybody gets to see afterwards."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.chaos.evidence import Evidence
from tests.chaos.scene import Injected

#: How much is told at the most: things that violations name, lines of each log, characters of a line.
THINGS, LINES, WIDTH = 5, 15, 600

_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
#: The date and time of a line of ours or PostgreSQL's, UTC; one without belongs to the line before.
_WHEN = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)")
_QUIET = {"debug", "info"}


def account(evidence: Evidence, journal: Sequence[Injected], violations: Sequence[str]) -> list[str]:
    """Returns lines: the faults, the attempts and answers of what the violations name, and what the logs say."""
    named = list(dict.fromkeys(id_ for text in violations for id_ in _ID.findall(text)))[:THINGS]
    began = min((line["time"] for line in evidence.ledger), default=0.0)
    return [
        f"began at {_clock(began)}",
        *(f"{_clock(each.time)} {each.what} (pid {each.pid})" for each in journal),
        *(line for id_ in named for line in _known(evidence, id_)),
        *(line for path in sorted(evidence.logs.glob("*.log")) for line in _logged(path, began, named)),
    ]


def _known(evidence: Evidence, id_: str) -> Iterator[str]:
    for line in evidence.ledger:
        if id_ in (line.get("job"), line.get("key")):
            told = {name: value for name, value in line.items() if name not in {"what", "time", "answer"}}
            yield f"{_clock(line['time'])} a client: {line['what']} {told}"[:WIDTH]
    if id_ in evidence.jobs:
        yield f"the job: {_plain(evidence.jobs[id_])}"
    for attempt in evidence.attempts.get(id_, ()):
        yield f"an attempt: {_plain(attempt)}"


def _plain(row: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in row.items() if value is not None)[:WIDTH]


def _logged(path: Path, began: float, named: Sequence[str]) -> list[str]:
    """Returns the last lines since then that name one of these, or that are no mere information."""
    found, late = [], False
    for line in path.read_text(errors="replace").splitlines():
        when = _WHEN.search(line)
        late = datetime.fromisoformat(f"{when[1]}T{when[2]}+00:00").timestamp() >= began if when else late
        if late and (_loud(line) or any(id_ in line for id_ in named)):
            found.append(f"{path.name}: {line[:WIDTH]}")
    return found[-LINES:]


def _loud(line: str) -> bool:
    try:
        return json.loads(line)["level"] not in _QUIET
    except (ValueError, KeyError, TypeError):
        return True  # not ours: PostgreSQL, or a process that could not even log


def _clock(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%H:%M:%S.%f}"
