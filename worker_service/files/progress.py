"""How far an import is, and what its report says of each line."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from worker_service.files.inserts import Made
from worker_service.files.lines import Line

#: How many of the lines that are wrong the job's result names; the file names all.
SHOWN = 20


@dataclass(slots=True)
class Progress:
    """How far an import is: where upload and report go on, and what became of the lines before."""

    offset: int = 0
    lines: int = 0
    size: int = 0
    created: int = 0
    existing: int = 0
    invalid: int = 0
    #: Whether a line says something of an account or of another task, which only the database can tell.
    related: bool = False
    first: list[dict[str, Any]] = field(default_factory=list)
    #: Where the lines begin that wait for what they are to be part of.
    waiting: list[list[int]] = field(default_factory=list)
    #: Waiting helps no more.
    settled: bool = False
    done: bool = False

    def note(self, line: Line, made: Made | None) -> dict[str, Any]:
        """Counts a line; returns what the report says of it."""
        if made is not None:
            self.created += made.fresh
            self.existing += not made.fresh
            told: dict[str, Any] = {"line": line.number, "task": f"tasks/{made.id}"}
            return told if made.fresh else told | {"existing": True}
        self.invalid += 1
        wrong = [{"field": each, "description": said} for each, said in line.violations]
        told = {"line": line.number, "violations": wrong}
        if len(self.first) < SHOWN:
            self.first.append(told)
        return told


def caught_up(progress: Progress, once_more: Callable[[Progress], Progress]) -> Progress:
    """Takes the lines that wait again, as long as what one makes is what another waits for."""
    while progress.waiting:
        progress = once_more(progress)
    return progress


def as_line(told: Mapping[str, Any]) -> bytes:
    """Returns a line of the report."""
    return json.dumps(told, ensure_ascii=False).encode() + b"\n"
