"""The SQL of ListTasks: one statement made of branches, each an ordered scan of one index that stops after a page.

Whose tasks they are, which states are asked for and where the page begins each split the list into parts that do not
overlap. One scan with OR would read everything before the page, or sort everything behind it; a branch reads one page.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Any

from api_service.database import Connection
from api_service.keyset import Column, Order, parse_order
from api_service.tasks.queries import COLUMNS
from api_service.tasks.task import Task
from shared.filters.compile import Condition
from shared.filters.tasks import task_filter
from shared.states import TaskState

#: What a list can be ordered by; `name` is the key.
ORDERS = {
    "name": Column("id"),
    "title": Column("title"),
    "priority": Column("priority"),
    "due_time": Column("due_time", nullable=True),
    "remind_time": Column("remind_time", nullable=True),
    "create_time": Column("create_time"),
    "update_time": Column("update_time"),
    "complete_time": Column("complete_time", nullable=True),
    "delete_time": Column("delete_time", nullable=True),
}

NEWEST_FIRST = "create_time desc"

ALL_STATES = frozenset(state.value for state in TaskState)

#: How far a list is counted.
MAX_COUNT = 10_000


@dataclass(frozen=True, slots=True)
class TaskList:
    """A list of tasks, whichever page of it."""

    #: Whose tasks, owned or assigned; None for everybody's.
    reader: uuid.UUID | None
    condition: Condition
    order: Order
    show_deleted: bool = False

    @property
    def by_due_time(self) -> bool:
        """Whether nothing but the due time decides, and the key."""
        return [column.name for column in self.order.columns] == ["due_time", "id"]


def task_list(reader: uuid.UUID | None, filter_: str, order_by: str, *, show_deleted: bool) -> TaskList:
    """Returns the list that a caller asks for. Raises FilterInvalid or OrderInvalid."""
    return TaskList(reader, task_filter(filter_), _order(order_by), show_deleted)


@lru_cache(maxsize=256)
def _order(text: str) -> Order:
    return parse_order(text, ORDERS, NEWEST_FIRST)


async def page(connection: Connection, list_: TaskList, after: Sequence[Any] | None, limit: int) -> list[Task]:
    """Returns up to `limit` tasks that come after the place `after` in the order of the list."""
    parameters: dict[str, Any] = {"limit": limit}
    ranges = list_.order.ranges(after, _binder(parameters))
    branches = [
        f"SELECT {COLUMNS} FROM tasks{_where(branch)} ORDER BY {list_.order.sql()} LIMIT %(limit)s"
        for branch in _branches(list_, ranges, parameters)
    ]
    if not branches:
        return []
    statement = branches[0]
    if len(branches) > 1:
        statement = " UNION ALL ".join(f"({branch})" for branch in branches)
        statement += f" ORDER BY {list_.order.sql(nulls=True)} LIMIT %(limit)s"
    # A filter is planned for its values: a common word and a rare one are not found in the same way.
    prepare = False if list_.condition.parameters or list_.condition.states is not None else None
    cursor = await connection.execute(statement, parameters, prepare=prepare, binary=True)
    return [Task._make(row) for row in await cursor.fetchall()]


async def count(connection: Connection, list_: TaskList) -> int:
    """Returns how many tasks the list has, or one more than MAX_COUNT where there are more than that."""
    parameters: dict[str, Any] = {"limit": MAX_COUNT + 1}
    branches = [f"(SELECT FROM tasks{_where(branch)} LIMIT %(limit)s)" for branch in _branches(list_, [[]], parameters)]
    if not branches:
        return 0
    everything = " UNION ALL ".join(branches)
    statement = f"SELECT count(*) FROM (SELECT FROM ({everything}) AS found LIMIT %(limit)s) AS counted"
    cursor = await connection.execute(statement, parameters, prepare=False)
    row = await cursor.fetchone()
    return int(row[0]) if row else 0


def _branches(list_: TaskList, ranges: list[list[str]], parameters: dict[str, Any]) -> Iterator[list[str]]:
    parameters |= list_.condition.parameters
    alive = [["delete_time IS NULL"]]
    if list_.show_deleted:
        alive.append(["delete_time IS NOT NULL"])
    filter_ = [[list_.condition.sql] if list_.condition.sql else []]
    for parts in product(_visible(list_, parameters), _states(list_, parameters), alive, ranges, filter_):
        yield [condition for part in parts for condition in part]


def _visible(list_: TaskList, parameters: dict[str, Any]) -> list[list[str]]:
    if list_.reader is None:
        return [[]]
    parameters["reader"] = list_.reader
    return [["owner_id = %(reader)s"], ["assignee_id = %(reader)s", "assignee_id <> owner_id"]]


def _states(list_: TaskList, parameters: dict[str, Any]) -> list[list[str]]:
    """State by state where an index has the state before the order, else all at once.

    The due time has only such an index: what is due is asked of what is open.
    """
    states, bind = list_.condition.states, _binder(parameters)
    if states is None and (list_.condition.selective or not list_.by_due_time):
        return [[]]
    found = sorted(ALL_STATES if states is None else states)
    if list_.condition.selective and len(found) > 1:
        return [[f"state = ANY({bind(found)})"]]
    return [[f"state = {bind(state)}"] for state in found]


def _where(conditions: list[str]) -> str:
    return f" WHERE {' AND '.join(conditions)}" if conditions else ""


def _binder(parameters: dict[str, Any]) -> Callable[[Any], str]:
    def bind(value: Any) -> str:
        key = f"p{len(parameters)}"
        parameters[key] = value
        return f"%({key})s"

    return bind
