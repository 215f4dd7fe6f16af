"""The tasks that a call is about, locked, with those that they are part of and that are part of them."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Sequence

from api_service.database import Connection
from api_service.principal import Principal
from api_service.tasks import queries
from api_service.tasks.access import WRITE_ALL, writes
from api_service.tasks.queries import Part
from api_service.tasks.task import Task
from api_service.tasks.tree import Forest
from shared.errors import Contention, EtagMismatch, InvalidArgument, NotFound, ParentClosed, ParentDeleted

Family = dict[uuid.UUID, Task]


async def lock(connection: Connection, principal: Principal, ids: Collection[uuid.UUID]) -> Family:
    """Locks those of the tasks that the caller may see, until the end of the transaction."""
    return await queries.lock(connection, ids, writer=principal.id, writes_all=principal.holds(WRITE_ALL))


async def lock_family(
    connection: Connection,
    principal: Principal,
    ids: Collection[uuid.UUID],
    *,
    parents: Collection[uuid.UUID] = (),
    trunks: Collection[uuid.UUID] = (),
) -> Family:
    """Locks them with what they are or will be part of, up to the root, and with what is part of `trunks`."""
    return await queries.lock_family(
        connection, ids, parents, trunks, writer=principal.id, writes_all=principal.holds(WRITE_ALL)
    )


async def lock_with_parents(
    connection: Connection, principal: Principal, ids: Collection[uuid.UUID], parents: Collection[uuid.UUID]
) -> tuple[Family, Forest]:
    """Returns the tasks that are to become part of `parents`, locked like those, and the trees of all of them."""
    if not parents:
        return await lock(connection, principal, ids) if ids else {}, Forest(())
    family = await lock_family(connection, principal, ids, parents=parents)
    return family, Forest(await queries.trees(connection, [*ids, *parents]))


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
