"""Everything that one run of a row left behind, for the invariants to look at."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from shared.attempts import ATTEMPTS
from tests.chaos.ledger import Line
from tests.chaos.scene import Span

Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Finding:
    """What an invariant found: the figures for the table, and each violation in words."""

    figures: Mapping[str, float] = field(default_factory=dict)
    violations: Sequence[str] = ()


@dataclass
class Evidence:
    """The clients' ledger, the database afterwards, and when what was done to which process."""

    ledger: Sequence[Line]
    spans: Sequence[Span]
    database: str
    logs: Path
    #: Pids by role, before the first fault and after the last.
    before: Mapping[str, set[int]]
    after: Mapping[str, set[int]]
    #: Seconds for the same load without a fault, where the row asks for that.
    fault_free: float | None
    lease: float

    def lines(self, what: str) -> list[Line]:
        """Returns the lines of the ledger that note this."""
        return [line for line in self.ledger if line["what"] == what]

    def named(self, prefix: str) -> list[Span]:
        """Returns the spans whose names begin like this."""
        return [span for span in self.spans if span.name.startswith(prefix)]

    @cached_property
    def sent_jobs(self) -> dict[str, Line]:
        """Every job that a client tried to enqueue."""
        return {line["job"]: line for line in self.lines("sent") if "job" in line}

    @cached_property
    def acknowledged_jobs(self) -> set[str]:
        """Every job that a client was told is committed."""
        return {line["job"] for line in self.lines("ok") if "job" in line}

    @cached_property
    def calls(self) -> dict[str, Line]:
        """What clients tried to do through the API, by key; of callers who share a key, one."""
        return {line["key"]: line for line in self.lines("sent") if "key" in line}

    @cached_property
    def answers(self) -> dict[str, list[Line]]:
        """What the API acknowledged, by key."""
        found: dict[str, list[Line]] = {}
        for line in self.lines("ok"):
            if "key" in line:
                found.setdefault(line["key"], []).append(line)
        return found

    @cached_property
    def jobs(self) -> dict[str, dict[str, Any]]:
        """The rows of the jobs sent."""
        rows = self.query("SELECT * FROM jobs WHERE id = ANY(%s)", [list(self.sent_jobs)])
        return {str(row["id"]): row for row in rows}

    @cached_property
    def attempts(self) -> dict[str, Rows]:
        """The attempts of the jobs sent, oldest first."""
        found: dict[str, Rows] = {}
        statement = f"SELECT * FROM ({ATTEMPTS}) AS attempts WHERE job_id = ANY(%s) ORDER BY claim_token"
        for row in self.query(statement, [list(self.sent_jobs)]):
            found.setdefault(str(row["job_id"]), []).append(row)
        return found

    @cached_property
    def effects(self) -> dict[str, Counter[str]]:
        """How often each step of each job has left its row."""
        found: dict[str, Counter[str]] = {}
        for row in self.query("SELECT job_id, step FROM probe_ledger WHERE job_id = ANY(%s)", [list(self.sent_jobs)]):
            found.setdefault(str(row["job_id"]), Counter())[row["step"]] += 1
        return found

    @cached_property
    def tasks(self) -> dict[str, list[str]]:
        """The names of the tasks by their title, which is the key that made them."""
        found: dict[str, list[str]] = {}
        for row in self.query("SELECT id, title FROM tasks WHERE title = ANY(%s)", [list(self.calls)]):
            found.setdefault(row["title"], []).append(f"tasks/{row['id']}")
        return found

    @cached_property
    def events(self) -> Counter[tuple[str, str]]:
        """How many events of each kind each task has."""
        rows = self.query("SELECT resource, kind, count(*) AS n FROM events GROUP BY resource, kind", [])
        return Counter({(row["resource"], row["kind"]): row["n"] for row in rows})

    def query(self, statement: str, parameters: Sequence[Any]) -> Rows:
        """Asks the database as it is now."""
        with psycopg.Connection.connect(self.database, row_factory=dict_row) as connection:
            return connection.execute(statement, parameters).fetchall()


def p99(seconds: Iterable[float]) -> float:
    """Returns the 99th percentile, by nearest rank; infinite if there is nothing."""
    ordered = sorted(seconds)
    return ordered[math.ceil(len(ordered) * 0.99) - 1] if ordered else math.inf


def median(values: Iterable[float]) -> float:
    """Returns the median; infinite if there is nothing."""
    found = list(values)
    return statistics.median(found) if found else math.inf
