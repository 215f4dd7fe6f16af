"""A page of a common list reads about a page, however many tasks there are: carried out, and counted row by row."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
import pytest
from psycopg import AsyncCursor
from psycopg.rows import TupleRow
from psycopg.sql import Literal

from api_service.connection import WatchedConnection
from api_service.keyset import pack, unpack
from api_service.tasks.listing import Query, TaskList, page, page_query, place, task_list
from api_service.tasks.row import Raw
from bench.tasks import BIG, PARENT, fill
from tests.support.servers import Postgres

Cursor = AsyncCursor[TupleRow]

ROWS = 40_000
LIMIT = 20
OPEN = "state = TODO OR state = IN_PROGRESS"

#: Filter and order of what people ask for.
COMMON = [
    ("", ""),
    ("", "create_time"),
    ("state = IN_PROGRESS", ""),
    (OPEN, ""),
    (OPEN, "due_time"),
    (OPEN, "due_time desc"),
    ("", "due_time"),
    ("", "update_time desc"),
    ('update_time > "2024-01-03T00:00:00Z"', "update_time"),
    (f'({OPEN}) AND due_time < "2026-01-01T00:00:00Z"', "due_time"),
    ('create_time > "2024-01-03T00:00:00Z" AND create_time < "2024-01-03T01:00:00Z"', ""),
    (f'assignee = "users/{BIG}"', ""),
    (f'assignee = "users/{BIG}" state = TODO', ""),
    (f'owner = "users/{BIG}" state = TODO', ""),
    (f'parent_task = "tasks/{PARENT}"', ""),
    ("labels:rare", ""),
    ("37777", ""),
    ("customer1234 report", ""),
]


async def read(url: str, list_: TaskList, after: Sequence[Any] | None) -> tuple[list[dict[str, Any]], list[Raw]]:
    """Returns what every scan touched on the way to a page, and the page."""
    async with await WatchedConnection.connect(url, autocommit=True) as connection:
        [[[explained]]] = await (await _explain(connection, list_, page_query(list_, after, LIMIT))).fetchall()
        return list(_scans(explained["Plan"])), await page(connection, list_, after, LIMIT)


async def _explain(connection: WatchedConnection, list_: TaskList, query: Query) -> Cursor:
    """Carries a list out by its plan: one for the values of its filter, or one for all."""
    explain = "EXPLAIN (ANALYZE, FORMAT JSON)"
    if list_.condition.parameters:
        return await connection.execute(f"{explain} {query.statement}", query.parameters)
    names = list(dict.fromkeys(re.findall(r"%\((\w+)\)s", query.statement)))
    numbered = query.statement % {name: f"${number}" for number, name in enumerate(names, 1)}
    values = ", ".join(Literal(query.parameters[name]).as_string(connection) for name in names)
    await connection.execute("SET plan_cache_mode = force_generic_plan")
    await connection.execute(f"PREPARE page AS {numbered}")
    return await connection.execute(f"{explain} EXECUTE page" + (f" ({values})" if values else ""))


def _scans(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if "Scan" in node["Node Type"] and "Relation Name" in node:
        yield node
    for below in node.get("Plans", ()):
        yield from _scans(below)


def touched(scan: dict[str, Any]) -> float:
    """Returns how many rows a scan looked at."""
    removed = scan.get("Rows Removed by Filter", 0) + scan.get("Rows Removed by Index Recheck", 0)
    return float((scan["Actual Rows"] + removed) * scan["Actual Loops"])


@pytest.fixture(scope="module")
def filled(postgres: Postgres) -> Iterator[str]:
    with postgres.clone() as url:
        with psycopg.connect(url, autocommit=True) as connection:
            fill(connection, ROWS)
        yield url


@pytest.mark.parametrize("reader", [BIG, None], ids=["mine", "everybody's"])
@pytest.mark.parametrize(
    ("filter_", "order_by", "show_deleted"),
    [*((*question, False) for question in COMMON), ("", "", True), ("", "create_time", True)],
)
def test_a_page_reads_about_a_page(
    filled: str, filter_: str, order_by: str, reader: uuid.UUID | None, *, show_deleted: bool
) -> None:
    list_ = task_list(reader, filter_, order_by, show_deleted=show_deleted)
    after = None
    for _ in range(2):  # the first page, and one that begins somewhere
        scans, rows = asyncio.run(read(filled, list_, after))
        assert scans
        for scan in scans:
            assert scan["Node Type"] != "Seq Scan", scan
            # A bitmap takes what a selective filter finds; 400 of these 40,000 tasks at most are that.
            assert touched(scan) <= (400 if "Bitmap" in scan["Node Type"] else 8 * LIMIT), scan
        if len(rows) < LIMIT:
            return
        after = unpack(pack(place(list_, rows[-1])))


async def planned_for_all(url: str, list_: TaskList) -> bool:
    """Returns whether the first page and the second came to have plans that serve every call."""
    async with await WatchedConnection.connect(url, autocommit=True) as connection:
        after = None
        for _ in range(2):
            for _ in range(10):
                rows = await page(connection, list_, after, LIMIT)
            after = unpack(pack(place(list_, rows[-1])))
        found = await connection.execute("SELECT generic_plans, custom_plans FROM pg_prepared_statements")
        plans = await found.fetchall()
        return len(plans) == 2 and all(generic + custom == 10 and custom <= 5 for generic, custom in plans)


@pytest.mark.parametrize("reader", [BIG, None], ids=["mine", "everybody's"])
@pytest.mark.parametrize("order_by", ["", "due_time", "priority, title desc"])
def test_a_list_without_a_filter_is_not_planned_for_each_call(
    filled: str, order_by: str, reader: uuid.UUID | None
) -> None:
    assert asyncio.run(planned_for_all(filled, task_list(reader, "", order_by, show_deleted=False)))
