"""A page of a common list reads about a page, however many tasks there are: carried out, and counted row by row."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from typing import Any, cast

import psycopg
import pytest

from api_service.database import Connection
from api_service.keyset import pack, unpack
from api_service.tasks.listing import page, task_list
from bench.tasks import BIG, PARENT, fill
from tests.support.servers import Postgres

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


class Counted:
    """Stands where a query expects a connection: carries it out, and notes what every scan touched."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        self.scans: list[dict[str, Any]] = []
        self._rows: list[Any] = []

    async def execute(self, statement: str, parameters: Any, **_: Any) -> Counted:
        """Runs it twice: once for the plan, once for the rows."""
        explain = f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}"
        [[[explained]]] = self._connection.execute(explain, parameters).fetchall()
        self.scans = list(_scans(explained["Plan"]))
        self._rows = self._connection.execute(statement, parameters).fetchall()
        return self

    async def fetchall(self) -> list[Any]:
        """Returns the rows."""
        return self._rows


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
def filled(postgres: Postgres) -> Iterator[psycopg.Connection[Any]]:
    with postgres.clone() as url, psycopg.connect(url, autocommit=True) as connection:
        fill(connection, ROWS)
        yield connection


@pytest.mark.parametrize("reader", [BIG, None], ids=["mine", "everybody's"])
@pytest.mark.parametrize(
    ("filter_", "order_by", "show_deleted"),
    [*((*question, False) for question in COMMON), ("", "", True), ("", "create_time", True)],
)
def test_a_page_reads_about_a_page(
    filled: psycopg.Connection[Any], filter_: str, order_by: str, reader: uuid.UUID | None, *, show_deleted: bool
) -> None:
    counted = Counted(filled)
    list_ = task_list(reader, filter_, order_by, show_deleted=show_deleted)
    after = None
    for _ in range(2):  # the first page, and one that begins somewhere
        rows = asyncio.run(page(cast("Connection", counted), list_, after, LIMIT))
        assert counted.scans
        for scan in counted.scans:
            assert scan["Node Type"] != "Seq Scan", scan
            # A bitmap takes what a selective filter finds; 400 of these 40,000 tasks at most are that.
            assert touched(scan) <= (400 if "Bitmap" in scan["Node Type"] else 8 * LIMIT), scan
        if len(rows) < LIMIT:
            return
        after = unpack(pack(list_.order.values(rows[-1])))
