"""What the lines of an import say of accounts and of other tasks: looked up, held to the rules, and locked.

The rules are those of CreateTask: an assignee can be assigned to, a parent is the owner's, live, open where its part
is, and its tree stays within its bounds. Whoever changes the shape of a tree locks its root.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from shared.assignees import ASSIGNABLE
from shared.states import TaskState
from shared.task_fields import MAX_DEPTH, MAX_TREE
from worker_service.database import Connection
from worker_service.files.inserts import OPEN, Owner, taken
from worker_service.files.lines import Line

_NAME = re.compile(r"tasks/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")

_LOCK = """
WITH RECURSIVE above AS (
    SELECT id, parent_id FROM tasks WHERE id = ANY(%(ids)s) AND owner_id = %(owner_id)s
    UNION
    SELECT tasks.id, tasks.parent_id FROM tasks JOIN above ON tasks.id = above.parent_id
)
SELECT id FROM tasks WHERE id IN (SELECT id FROM above) ORDER BY id FOR NO KEY UPDATE
"""

_LOOK = """
WITH RECURSIVE above AS (
    SELECT id AS parent, id, parent_id, 1 AS depth FROM tasks WHERE id = ANY(%(ids)s) AND owner_id = %(owner_id)s
    UNION ALL
    SELECT parent, tasks.id, tasks.parent_id, depth + 1 FROM tasks JOIN above ON tasks.id = above.parent_id
), root AS (
    SELECT parent, id, depth FROM above WHERE parent_id IS NULL
), tree AS (
    SELECT DISTINCT id AS root, id FROM root
    UNION ALL
    SELECT tree.root, tasks.id FROM tasks JOIN tree ON tasks.parent_id = tree.id
), size AS (
    SELECT root, count(*) AS tasks FROM tree GROUP BY root
)
SELECT tasks.id, root.id AS root, depth, state, delete_time, size.tasks AS size
FROM root JOIN size ON size.root = root.id JOIN tasks ON tasks.id = parent
"""


class _ParentUnknown(ValueError):
    """There is no such task, or not yet: a later line may make it."""


@dataclass(slots=True)
class _Parent:
    """A task that lines want to be part of, and where it stands."""

    id: uuid.UUID
    root: uuid.UUID
    depth: int
    state: str
    deleted: bool


def portions(lines: Sequence[Line]) -> Iterator[list[Line]]:
    """Cuts lines so that none refers to one of its own portion: what it is part of is there before it."""
    portion: list[Line] = []
    keys: set[str | None] = set()
    for line in lines:
        if line.related and line.fields["parent_task"] in keys - {None}:
            yield portion
            portion, keys = [], set()
        portion.append(line)
        keys.add(line.key)
    if portion:
        yield portion


def related(connection: Connection, owner: Owner, lines: Sequence[Line]) -> list[Line]:
    """Returns the lines with the parents that they name, or with what is wrong with those and with their assignees.

    A line that has been imported before makes nothing of what it says, and is not asked.
    """
    asking = [line for line in lines if line.related]
    if not asking:
        return list(lines)
    known = taken(connection, owner, [line.key for line in asking if line.key is not None])
    asking = [line for line in asking if line.key not in known]
    accounts = _accounts(connection, asking)
    parents = _Parents(connection, owner, [line.fields["parent_task"] for line in asking])
    checked = {line.number: _checked(line, accounts, parents) for line in asking}
    return [checked.get(line.number, line) for line in lines]


def _accounts(connection: Connection, lines: Iterable[Line]) -> set[tuple[str, uuid.UUID]]:
    ids = {line.fields["assignee"][1] for line in lines if line.fields["assignee"]}
    if not ids:
        return set()
    return {(row["kind"], row["id"]) for row in connection.execute(ASSIGNABLE, {"ids": list(ids)})}


def _checked(line: Line, accounts: set[tuple[str, uuid.UUID]], parents: _Parents) -> Line:
    if line.fields["assignee"] and line.fields["assignee"] not in accounts:
        return line._replace(violations=(("assignee", "is no account that a task can be assigned to"),))
    if line.fields["parent_task"] is None:
        return line
    try:
        return line._replace(parent_id=parents.attach(line))
    except ValueError as error:
        early = line.key is not None and isinstance(error, _ParentUnknown)
        return line._replace(violations=(("parent_task", str(error)),), early=early)


class _Parents:
    """The tasks that some lines name as their parents, locked with what they are part of."""

    def __init__(self, connection: Connection, owner: Owner, names: Sequence[str | None]) -> None:
        wanted = {name for name in names if name is not None}
        self._ids = taken(connection, owner, list(wanted))
        for name in wanted - self._ids.keys():
            if found := _NAME.fullmatch(name):
                self._ids[name] = uuid.UUID(found[1])
        self._parents: dict[uuid.UUID, _Parent] = {}
        self._sizes: dict[uuid.UUID, int] = {}
        if self._ids:
            self._lock(connection, {"ids": list(self._ids.values()), "owner_id": owner.id})

    def _lock(self, connection: Connection, parameters: dict[str, Any]) -> None:
        """Again, where a root is seen that is not locked: a tree may have moved while its lock was waited for."""
        locked: set[uuid.UUID] = set()
        while True:
            locked |= {row["id"] for row in connection.execute(_LOCK, parameters)}
            rows = connection.execute(_LOOK, parameters).fetchall()
            if all(row["root"] in locked for row in rows):
                break
        for row in rows:
            deleted = row["delete_time"] is not None
            self._parents[row["id"]] = _Parent(row["id"], row["root"], row["depth"], row["state"], deleted)
            self._sizes[row["root"]] = row["size"]

    def attach(self, line: Line) -> uuid.UUID:
        """Returns the parent of a line, and counts the line in. Raises ValueError where it cannot be."""
        id_ = self._ids.get(line.fields["parent_task"])
        parent = self._parents.get(id_) if id_ else None
        if parent is None:
            raise _ParentUnknown("is no task of yours, and no key of a line that was imported")
        if parent.deleted:
            raise ValueError("is deleted")
        if line.fields["state"] in OPEN and parent.state not in OPEN:
            raise ValueError(f"is {TaskState(parent.state)}, and this task is open")
        if parent.depth >= MAX_DEPTH:
            raise ValueError(f"stands at the bottom of a tree, which is at most {MAX_DEPTH} deep")
        if self._sizes[parent.root] >= MAX_TREE:
            raise ValueError(f"is in a full tree, which holds at most {MAX_TREE:,} tasks")
        self._sizes[parent.root] += 1
        return parent.id
