"""`python -m bench.plans`: the lists of tasks that people ask for, at two million tasks: times and plans.

Fills a stack of its own (`bench.tasks`), runs each list seven times as the API does, without the wire, and writes
bench/results/plans.md.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
import uuid
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from api_service.connection import WatchedConnection
from api_service.keyset import pack, unpack
from api_service.tasks.listing import Query, TaskList, count, count_query, page, page_query, place, task_list
from bench.__main__ import RESULTS
from bench.harness import Bench, Effort
from bench.tasks import BIG, COUNT, PARENT, fill

SIZE = 51
RUNS = 7

#: How many tasks are read at once on the way to a depth.
STEP = 50_000


@dataclass(frozen=True)
class Question:
    """A list that somebody asks for."""

    what: str
    filter: str = ""
    order_by: str = ""
    reader: uuid.UUID | None = BIG
    show_deleted: bool = False
    #: How many tasks come before the page.
    depth: int = 0
    counts: bool = False

    def list(self) -> TaskList:
        """Returns it as the API understands it."""
        return task_list(self.reader, self.filter, self.order_by, show_deleted=self.show_deleted)


OPEN = "state = TODO OR state = IN_PROGRESS"
EVERYBODY: dict[str, Any] = {"reader": None}
QUESTIONS = [
    Question("newest first"),
    Question("newest first, at depth 500,000", depth=500_000),
    Question("newest first, deleted ones too", show_deleted=True),
    Question("in progress (one in 1,000)", "state = IN_PROGRESS"),
    Question("open", OPEN),
    Question("open, by due time", OPEN, "due_time"),
    Question("open, by due time, at depth 50,000", OPEN, "due_time", depth=50_000),
    Question("open, latest due time first", OPEN, "due_time desc"),
    Question("overdue", f'({OPEN}) AND due_time < "2026-01-01T00:00:00Z"', "due_time"),
    Question("created in one hour", 'create_time >= "2025-01-01T00:00:00Z" AND create_time < "2025-01-01T01:00:00Z"'),
    Question("assigned to me", f'assignee = "users/{BIG}"'),
    Question("parts of one task", f'parent_task = "tasks/{PARENT}"'),
    Question("a label of one in 50", 'labels.team = "team8"'),
    Question("a label of one in 100,000", "labels:rare"),
    Question("a word of every task", "report"),
    Question("a word of one in 5,000", "customer1234"),
    Question("a word of one task", "1234567"),
    Question("two words", "customer1234 word501"),
    Question("counted, all", counts=True),
    Question("counted, a label of one in 50", 'labels.team = "team8"', counts=True),
    Question("everybody's, newest first", **EVERYBODY),
    Question("everybody's, newest first, at depth 1,000,000", depth=1_000_000, **EVERYBODY),
    Question("everybody's, in progress", "state = IN_PROGRESS", **EVERYBODY),
    Question("everybody's, open, by due time", OPEN, "due_time", **EVERYBODY),
    Question("everybody's, a word of one in 5,000", "customer1234", **EVERYBODY),
    Question("everybody's, a label of one in 50", 'labels.team = "team7"', **EVERYBODY),
    Question("by title", order_by="title"),
    Question("by priority, then due time", OPEN, "priority desc, due_time"),
    Question("recently changed", order_by="update_time desc"),
    Question("a part of the title", 'title = "*1234567*"'),
    Question("everybody's, by title", order_by="title", **EVERYBODY),
    Question("everybody's, a part of the title that none has", 'title = "*nothing*"', **EVERYBODY),
    Question("everybody's, none of a label", "-labels:team -labels:rare", **EVERYBODY),
]


async def _place(connection: WatchedConnection, question: Question) -> list[Any] | None:
    """Returns a place in the middle of the list, found as a page token would have it."""
    list_, after = question.list(), None
    for _ in range(question.depth // STEP):
        rows = await page(connection, list_, after, STEP)
        after = unpack(pack(place(list_, rows[-1])))
    return after


async def _asked(connection: WatchedConnection, question: Question) -> tuple[list[float], str]:
    list_, after = question.list(), await _place(connection, question)
    times = []
    for _ in range(RUNS):
        began = time.perf_counter()
        await (count(connection, list_) if question.counts else page(connection, list_, after, SIZE))
        times.append((time.perf_counter() - began) * 1000)
    query = count_query(list_) if question.counts else page_query(list_, after, SIZE)
    return times, await _plan(connection, query)


async def _plan(connection: WatchedConnection, query: Query) -> str:
    cursor = await connection.execute("EXPLAIN (ANALYZE, BUFFERS, COSTS OFF) " + query.statement, query.parameters)
    return "\n".join(row[0] for row in await cursor.fetchall())


async def _report(url: str) -> str:
    table = ["| list | filter, order | median | slowest of seven |", "| --- | --- | --- | --- |"]
    plans = []
    async with await WatchedConnection.connect(url, autocommit=True, options="-c timezone=UTC") as connection:
        for question in QUESTIONS:
            times, plan = await _asked(connection, question)
            words = ", ".join(f"`{each}`" for each in (question.filter, question.order_by) if each)
            table.append(f"| {question.what} | {words} | {statistics.median(times):,.1f} ms | {max(times):,.1f} ms |")
            print(table[-1], file=sys.stderr, flush=True)
            plans.append(f"## {question.what}\n\n```text\n{plan}\n```\n")
    head = (
        f"# Lists at {COUNT:,} tasks\n\nPages of 50. Half of the tasks belong to the reader, or all are everybody's.\n"
    )
    return "\n".join([head, *table, "", *plans])


def main() -> None:
    """Fills, asks, writes."""
    with ExitStack() as stack:
        bench = Bench(Effort(), lambda text: print(text, file=sys.stderr), stack)
        fill(bench.database)
        (RESULTS / "plans.md").write_text(asyncio.run(_report(bench.environment["TASKHUB_DATABASE_URL"])))


if __name__ == "__main__":
    main()
