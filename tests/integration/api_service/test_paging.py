"""Pages by key hold each task exactly once, in any order, while others write."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Callable, Coroutine, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api_service.connection import WatchedConnection
from api_service.keyset import pack, unpack
from api_service.tasks.listing import ORDERS, page, place, task_list
from api_service.tasks.row import Row
from tests.support.servers import Postgres

ROWS = 60
TIMES = [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=hours) for hours in range(4)]
INSERT = """
INSERT INTO tasks (id, owner_id, assignee_id, assignee_kind, title, state, priority, due_time, remind_time, create_time,
                   complete_time, delete_time, purge_time)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""

ME, OTHER = uuid.UUID(int=1), uuid.UUID(int=2)

orders = st.lists(
    st.tuples(st.sampled_from(sorted(ORDERS)), st.sampled_from(["", " desc"])),
    min_size=1,
    max_size=3,
    unique_by=lambda part: part[0],
).map(lambda parts: ", ".join(name + direction for name, direction in parts))
filters = st.sampled_from(["", "state = TODO OR state = DONE", "a*", "NOT due_time:*", "priority > LOW"])


def insert(connection: psycopg.Connection[Any], chance: random.Random) -> None:
    """Writes a task of mine, of mine for somebody else, or of somebody else's for me; columns often tie."""
    owner, assignee = chance.choice([(ME, None), (ME, ME), (ME, OTHER), (OTHER, ME), (OTHER, None)])
    state = chance.choice(["TODO", "DONE"])
    gone = chance.choice([None, None, *TIMES])
    connection.execute(INSERT, (
        uuid.UUID(int=chance.getrandbits(128)), owner, assignee, assignee and "users", chance.choice(["a", "b b", "c"]),
        state, chance.randint(1, 4), chance.choice([None, *TIMES]), chance.choice([None, *TIMES]), chance.choice(TIMES),
        TIMES[0] if state == "DONE" else None, gone, gone,
    ))  # fmt: skip


@pytest.fixture(scope="module")
def url(postgres: Postgres) -> Iterator[str]:
    chance = random.Random(7)  # noqa: S311  rows, no secrets
    with postgres.clone() as url, psycopg.connect(url, autocommit=True) as connection:
        for who in (ME, OTHER):
            connection.execute("INSERT INTO users (id, email, password_hash) VALUES (%s, %s, 'x')", (who, f"{who}@x.y"))
        for _ in range(ROWS):
            insert(connection, chance)
        yield url


def key(task: Row, order_by: str) -> list[Any]:
    """Returns a key that Python sorts as the contract says: absent values last, in either direction."""
    found: list[Any] = []
    for part in order_by.split(", "):
        name, _, direction = part.partition(" ")
        value = getattr(task, ORDERS[name].name)
        number = _number(value)
        found += [value is None, -number if direction else number]
    last = -1 if order_by.endswith(" desc") else 1
    return [*found, last * task.id.int]


def _number(value: Any) -> float:
    match value:
        case uuid.UUID():
            return value.int
        case bytes():
            return [b"a", b"b b", b"c"].index(value)
    return value or 0


async def pages(connection: Any, order_by: str, size: int, between: Callable[[], Any], **arguments: Any) -> list[Row]:
    """Reads a list to its end as a caller does, something happening between two pages."""
    list_ = task_list(arguments["reader"], arguments["filter_"], order_by, show_deleted=arguments["deleted"])
    found: list[Row] = []
    after = None
    while True:
        tasks = await page(connection, list_, after, size + 1)
        found += map(Row._make, tasks[:size])
        if len(tasks) <= size:
            return found
        after = unpack(pack(place(list_, tasks[size - 1])))
        between()


def run(url: str, work: Callable[[Any], Coroutine[Any, Any, Any]]) -> Any:
    """Runs something on a connection of its own."""

    async def connected() -> Any:
        async with await WatchedConnection.connect(url, autocommit=True) as connection:
            return await work(connection)

    return asyncio.run(connected())


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(orders, filters, st.integers(1, 7), st.sampled_from([ME, None]), st.booleans(), st.integers(0, 1000))
def test_every_task_comes_once_while_others_write(
    url: str,
    order_by: str,
    filter_: str,
    size: int,
    reader: uuid.UUID | None,
    deleted: bool,  # noqa: FBT001  drawn by hypothesis
    seed: int,
) -> None:
    chance = random.Random(f"{seed} {order_by} {filter_} {size}")  # noqa: S311  rows, no secrets
    with psycopg.connect(url) as writer:
        stays = {row[0] for row in writer.execute("SELECT id FROM tasks")}

        def write() -> None:
            insert(writer, chance)
            writer.commit()

        arguments = {"reader": reader, "filter_": filter_, "deleted": deleted}
        found = run(url, lambda connection: pages(connection, order_by, size, write, **arguments))
        everything = run(url, lambda connection: pages(connection, order_by, 1000, write, **arguments))
        writer.execute("DELETE FROM tasks WHERE id <> ALL(%s)", (list(stays),))
    ids = [task.id for task in found]
    assert len(set(ids)) == len(ids)
    assert [id_ for id_ in ids if id_ in stays] == [task.id for task in everything if task.id in stays]
    assert found == sorted(found, key=lambda task: key(task, order_by))


def test_a_list_is_what_its_reader_owns_or_is_assigned(url: str) -> None:
    nothing: Callable[[], None] = lambda: None  # noqa: E731
    found = run(url, lambda c: pages(c, "name", 7, nothing, reader=ME, filter_="", deleted=True))
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT id FROM tasks WHERE owner_id = %(me)s OR assignee_id = %(me)s ORDER BY id", {"me": ME}
        )
        assert [task.id for task in found] == [row[0] for row in rows]
