"""The tasks that a call is about, locked, with those that they are part of and that are part of them."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Sequence

from api_service.database import Connection
from api_service.principal import Principal
from api_service.tasks import queries
from api_service.tasks.access import WRITE_ALL, writes
from api_service.tasks.queries import Look, Part, ask, ask_all
from api_service.tasks.task import Task
from api_service.tasks.tree import Forest
from shared.errors import Contention, EtagMismatch, InvalidArgument, NotFound, ParentClosed, ParentDeleted

Family = dict[uuid.UUID, Task]
#: Accounts that tasks can be assigned to, each with its kind.
Accounts = set[tuple[uuid.UUID, str]]


def lock(principal: Principal, ids: Collection[uuid.UUID]) -> Look[Family]:
    """Locks those of the tasks that the caller may see, until the end of the transaction."""
    return queries.lock(ids, writer=principal.id, writes_all=principal.holds(WRITE_ALL))


def lock_family(
    principal: Principal,
    ids: Collection[uuid.UUID],
    *,
    parents: Collection[uuid.UUID] = (),
    trunks: Collection[uuid.UUID] = (),
) -> Look[Family]:
    """Locks them with what they are or will be part of, up to the root, and with what is part of `trunks`."""
    return queries.lock_family(ids, parents, trunks, writer=principal.id, writes_all=principal.holds(WRITE_ALL))


async def lock_to_change(
    connection: Connection,
    principal: Principal,
    ids: Collection[uuid.UUID],
    parents: Collection[uuid.UUID],
    accounts: Collection[uuid.UUID],
) -> tuple[Family, Forest, Accounts]:
    """Locks tasks with all that is said of them, and looks at it under the locks, in one round trip.

    Returns the tasks with the line of what they are or will be part of, the trees of all of these, and those of the
    accounts that tasks can be assigned to.
    """
    if not parents and not accounts:
        return await ask(connection, lock(principal, ids)), Forest(()), set()
    family, nodes, assignable = await ask_all(
        connection,
        lock_family(principal, ids, parents=parents) if parents else lock(principal, ids),
        queries.trees([*ids, *parents] if parents else []),
        queries.principals(accounts),
    )
    return family, Forest(nodes), assignable


async def lock_with_parts(
    connection: Connection, principal: Principal, ids: Collection[uuid.UUID], trunks: Collection[uuid.UUID]
) -> tuple[Family, list[Part]]:
    """Locks tasks, `trunks` with all that is part of them, and looks under the locks what is, in one round trip."""
    locking = lock_family(principal, ids, trunks=trunks) if trunks else lock(principal, ids)
    family, parts = await ask_all(connection, locking, queries.below(ids))
    return family, parts


def find(principal: Principal, family: Family, id_: uuid.UUID, etag: str) -> Task:
    """Returns a task that the caller may change, deleted or not. Raises NotFound, EtagMismatch."""
    task = family.get(id_)
    if task is None or not writes(principal, task):
        raise NotFound
    if etag and etag != task.etag:
        raise EtagMismatch(etag=task.etag)
    return task


def reach(principal: Principal, family: Family, id_: uuid.UUID, etag: str) -> Task:
    """Returns a live task that the caller may change. Raises NotFound, EtagMismatch."""
    task = family.get(id_)
    if task is not None and not task.live:
        raise NotFound
    return find(principal, family, id_, etag)


def held(family: Family, parts: Iterable[Part]) -> list[Task]:
    """Returns the parts as they were locked. One that has come since the lock was asked for is met the next time."""
    if any(part.id not in family for part in parts):
        raise Contention
    return [family[part.id] for part in parts]


def hanging_on(parts: Sequence[Part], trunks: Collection[uuid.UUID]) -> list[Part]:
    """Returns those of `parts` that hang on one of `trunks` by nothing but others of them."""
    found: list[Part] = []
    grown = set(trunks)
    while fresh := [part for part in parts if part.parent_id in grown and part.id not in grown]:
        found += fresh
        grown |= {part.id for part in fresh}
    return found


def attach(family: Family, forest: Forest, task: Task, parent_id: uuid.UUID) -> None:
    """Makes the task part of another. Raises where that cannot be: see `check_parent` and `Forest.attach`."""
    if parent_id not in family:
        raise InvalidArgument("task.parent_task", "there is no such task")
    if family[parent_id].owner_id != task.owner_id:
        raise InvalidArgument("task.parent_task", "has another owner")
    check_parent(family, task)
    forest.attach(task.id, parent_id)
    if any(id_ not in family for id_ in forest.line(parent_id)):
        raise Contention


def check_parent(family: Family, task: Task) -> None:
    """Raises where the task, as it is to be, cannot be part of what it says."""
    if task.parent_id is None:
        return
    parent = family.get(task.parent_id)
    if parent is None:  # it has come since the lock was asked for
        raise Contention
    if not parent.live:
        raise ParentDeleted
    if task.open and not parent.open:
        raise ParentClosed
