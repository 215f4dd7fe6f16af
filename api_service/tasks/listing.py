"""The SQL of ListTasks: one statement made of branches, each an ordered scan of one index that stops after a page.

Whose tasks they are, which states are asked for and where the page begins each split the list into parts that do not
overlap. One scan with OR would read everything before the page, or sort everything behind it; a branch reads one page.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from functools import lru_cache
from itertools import chain, product
from typing import Any, NamedTuple

from api_service.connection import WatchedConnection
from api_service.database import Connection
from api_service.keyset import Column, Order, Range, parse_order
from api_service.prepared import Statement
from api_service.tasks.row import ADAPTERS, COLUMNS, Raw, Row, RowCursor
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

#: Their types, where they are not times.
_TYPES = {"id": "uuid", "title": "text", "priority": "smallint"}

NEWEST_FIRST = "create_time desc"

ALL_STATES = frozenset(state.value for state in TaskState)

#: How far a list is counted.
MAX_COUNT = 10_000

_PARAMETER = re.compile(r"%\((\w+)\)s")


@dataclass(frozen=True, slots=True)
class TaskList:
    """A list of tasks, whichever page of it."""

    #: Whose tasks, owned or assigned; None for everybody's.
    reader: uuid.UUID | None
    condition: Condition
    order: Order
    show_deleted: bool = False


def task_list(reader: uuid.UUID | None, filter_: str, order_by: str, *, show_deleted: bool, me: str = "") -> TaskList:
    """Returns the list that a caller, by the name of `me`, asks for. Raises FilterInvalid or OrderInvalid."""
    return TaskList(reader, task_filter(filter_, me), _order(order_by), show_deleted)


@lru_cache(maxsize=256)
def _order(text: str) -> Order:
    return parse_order(text, ORDERS, NEWEST_FIRST)


class Scope(Enum):
    """Whose tasks a list is made of."""

    #: Everybody's.
    ALL = auto()
    #: What somebody owns.
    OWNED = auto()
    #: What somebody owns or is assigned: all that they can see.
    VISIBLE = auto()
    #: What somebody is assigned.
    ASSIGNED = auto()


_OWN = "owner_id = %(whose)s"
_GIVEN = ["assignee_id = %(whose)s", "assignee_id <> owner_id"]

#: Parts that do not overlap; each has indexes that begin with its first condition. For `version > 0` see the schema.
_SCOPES: dict[Scope, list[list[str]]] = {
    Scope.ALL: [["version > 0"]],
    Scope.OWNED: [[_OWN]],
    Scope.VISIBLE: [[_OWN], _GIVEN],
    Scope.ASSIGNED: [[_OWN, "(assignee_id = owner_id) IS TRUE"], _GIVEN],
}


def _scope(list_: TaskList) -> tuple[Scope, uuid.UUID | None]:
    """Returns the narrowest scope that holds the list, and whose it is."""
    for column, scope in (("owner_id", Scope.OWNED), ("assignee_id", Scope.ASSIGNED)):
        whose = list_.condition.names.get(column)
        if whose and list_.reader in (None, whose):
            return scope, whose
    return (Scope.VISIBLE if list_.reader else Scope.ALL), list_.reader


class Query(NamedTuple):
    """A statement and its values."""

    statement: str
    parameters: dict[str, Any]


async def page(connection: WatchedConnection, list_: TaskList, after: Sequence[Any] | None, limit: int) -> list[Raw]:
    """Returns up to `limit` tasks that come after the place `after` in the order of the list, each what makes a Row."""
    statement, parameters = _asked(list_, after, limit)
    if not list_.condition.parameters:
        return await statement.fetch(connection, parameters)
    # A filter is planned for its values: a common word and a rare one are not found in the same way.
    cursor = RowCursor(connection)
    await cursor.execute(statement.sql, parameters, prepare=False, binary=True)
    return await cursor.fetchall()


def place(list_: TaskList, row: Raw) -> list[Any]:
    """Returns where a row of the page stands in the order of the list."""
    task = Row._make(row)
    return [task.value(column.name) for column in list_.order.columns]


async def count(connection: Connection, list_: TaskList) -> int:
    """Returns how many tasks the list has, or one more than MAX_COUNT where there are more than that."""
    statement, parameters = count_query(list_)
    cursor = await connection.execute(statement, parameters, prepare=False)
    row = await cursor.fetchone()
    return int(row[0]) if row else 0


def page_query(list_: TaskList, after: Sequence[Any] | None, limit: int) -> Query:
    """Returns what `page` asks."""
    statement, parameters = _asked(list_, after, limit)
    return Query(statement.sql, parameters)


def _asked(list_: TaskList, after: Sequence[Any] | None, limit: int) -> tuple[Statement, dict[str, Any]]:
    scope, whose = _scope(list_)
    parameters = {"whose": whose, **list_.condition.parameters}
    absent = None
    if after is not None:
        parameters |= list_.order.parameters(after)
        absent = tuple(value is None for value in after)
    return _page(list_.condition, list_.order, absent, scope, limit, deleted=list_.show_deleted), parameters


def count_query(list_: TaskList) -> Query:
    """Returns what `count` asks."""
    scope, whose = _scope(list_)
    branches = " UNION ALL ".join(
        f"(SELECT FROM tasks{where} LIMIT %(limit)s)"
        for where in _branches(list_.condition, [[]], [], scope, deleted=list_.show_deleted)
    )
    parameters = {"limit": MAX_COUNT + 1, "whose": whose, **list_.condition.parameters}
    statement = f"SELECT count(*) FROM (SELECT FROM ({branches}) AS found LIMIT %(limit)s) AS counted"
    return Query(statement, parameters)


@lru_cache(maxsize=1024)
def _page(
    condition: Condition, order: Order, absent: tuple[bool, ...] | None, scope: Scope, limit: int, *, deleted: bool
) -> Statement:
    by_state = order.by("due_time", "id")
    branches = [
        f"FROM tasks{where} ORDER BY {order.sql()} LIMIT {limit:d}"
        for where in _branches(condition, order.ranges(absent), ALL_STATES if by_state else [], scope, deleted=deleted)
    ]
    if len(branches) == 1:
        sql = f"SELECT {COLUMNS} {branches[0]}"
    else:
        found = " UNION ALL ".join(f"(SELECT * {branch})" for branch in branches)
        sql = f"SELECT {COLUMNS} FROM ({found}) AS found ORDER BY {order.sql(nulls=True)} LIMIT {limit:d}"
    return Statement(sql if condition.parameters else _for_all_values(sql, order), ADAPTERS)


def _for_all_values(sql: str, order: Order) -> str:
    """Hides the values from the planner, so that it makes one plan for all of them.

    Every branch follows an index whatever they are. But where a plan for the values looks cheaper than one for any,
    PostgreSQL makes it for each call, which takes longer than to read the page. The limit is part of the text for the
    same reason: of one that it does not know it expects a tenth of all rows.
    """
    types = {f"after{index}": _TYPES.get(column.name, "timestamptz") for index, column in enumerate(order.columns)}
    return _PARAMETER.sub(lambda found: f"(SELECT {found[0]}::{types.get(found[1], 'uuid')})", sql)


def _branches(
    condition: Condition, ranges: list[Range], states: Iterable[str], scope: Scope, *, deleted: bool
) -> Iterator[str]:
    alive = [["delete_time IS NULL"], ["delete_time IS NOT NULL"]] if deleted else [["delete_time IS NULL"]]
    filter_ = [[condition.sql] if condition.sql else []]
    for parts in product(_SCOPES[scope], _states(condition, states), alive, ranges, filter_):
        yield " WHERE " + " AND ".join(chain.from_iterable(parts))


def _states(condition: Condition, states: Iterable[str]) -> list[list[str]]:
    """State by state where an index has the state before the order, else all at once.

    `states` are those to tell apart where the filter lets all through: the due time has only an index by state, since
    what is due is asked of what is open.
    """
    if condition.states is not None:
        states = condition.states
    found = [f"state = '{TaskState(state)}'" for state in sorted(states)]
    if condition.states is not None and not found:
        return [["false"]]
    if condition.selective and len(found) > 1:
        return [[f"({' OR '.join(found)})"]] if condition.states is not None else [[]]
    return [[state] for state in found] or [[]]
