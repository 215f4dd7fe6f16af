"""How often a call about tasks waits for PostgreSQL, whatever it is about and however many tasks there are."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from api_service.connection import WatchedConnection
from api_service.database import Connection
from api_service.principal import MEMBER_SCOPES, Principal
from api_service.tasks import service
from api_service.tasks.service import Edit, Removal
from shared.states import PrincipalKind, TaskAction
from tests.support.api import Account, Api
from tests.support.wire import counting

Work = Callable[[Connection, Principal, Sequence[uuid.UUID]], Awaitable[Any]]


def edits(ids: Sequence[uuid.UUID], **fields: Any) -> list[Edit]:
    return [Edit(id_, "", fields, {}) for id_ in ids]


def removals(ids: Sequence[uuid.UUID], *, force: bool = False) -> list[Removal]:
    return [Removal(id_, "", force=force) for id_ in ids]


TWO: dict[str, Work] = {
    "update": lambda c, p, ids: service.update_all(c, p, edits(ids, title="x")),
    "update with a parent": lambda c, p, ids: service.update_all(c, p, edits(ids[1:], parent_id=ids[0])),
    "update with an assignee": lambda c, p, ids: service.update_all(
        c, p, edits(ids, assignee_id=p.id, assignee_kind=p.kind)
    ),
    "delete": lambda c, p, ids: service.delete_all(c, p, removals(ids)),
    "delete with parts": lambda c, p, ids: service.delete_all(c, p, removals(ids, force=True)),
    "start": lambda c, p, ids: service.move(c, p, ids[0], "", TaskAction.START),
    "complete with parts": lambda c, p, ids: service.move(c, p, ids[0], "", TaskAction.COMPLETE, force=True),
}


@pytest.mark.parametrize("many", [2, 20])
@pytest.mark.parametrize("name", TWO)
def test_a_change_looks_once_and_writes_once(api: Api, alice: Account, name: str, many: int) -> None:
    ids = [uuid.UUID(api.task(alice).name[6:]) for _ in range(many)]
    principal = Principal(alice.id, PrincipalKind.USER, uuid.uuid4(), MEMBER_SCOPES)

    async def count(url: str) -> int:
        async with await WatchedConnection.connect(url, autocommit=True) as connection, connection.transaction():
            before = wire.trips
            await TWO[name](connection, principal, ids)
            return wire.trips - before

    with counting(api.database_url) as wire:
        assert asyncio.run(count(wire.url)) == 2
    assert api.execute(
        "SELECT min(version) FROM tasks WHERE id = ANY(%s)", (ids[1:] if "parent" in name else ids[:1],)
    ) == [(2,)]
