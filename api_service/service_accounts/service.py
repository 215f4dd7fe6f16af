"""The rules of service accounts and their keys. Knows no gRPC, and never commits."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

from api_service.accounts import service as accounts
from api_service.accounts.retention import PURGE_AFTER
from api_service.audit import Actor
from api_service.database import Connection
from api_service.service_accounts import queries
from api_service.service_accounts.account import ServiceAccount, differences
from api_service.service_accounts.key import Key, new_secret
from shared import events
from shared.errors import EtagMismatch, InvalidArgument, KeyLimitReached, NotFound
from shared.ids import new_id

#: Enough for one in use and one that takes its place, at several places.
MAX_LIVE_KEYS = 10


async def create(connection: Connection, actor: Actor, fields: dict[str, Any]) -> ServiceAccount:
    """Makes an account that has no key yet."""
    now = datetime.now(UTC)
    account = ServiceAccount(id=new_id(), create_time=now, update_time=now, **fields)
    changes = {"display_name": [None, account.display_name], "scopes": [[], account.scopes]}
    event = actor.event(events.SERVICE_ACCOUNT_CREATED, account.name, account.id, changes)
    await queries.insert(connection, account, event)
    return account


async def get(connection: Connection, id_: uuid.UUID) -> ServiceAccount:
    """Returns an account, deleted or not. Raises NotFound."""
    account = await queries.get(connection, id_)
    if account is None:
        raise NotFound
    return account


async def page(
    connection: Connection, *, show_deleted: bool, before: uuid.UUID | None, limit: int
) -> list[ServiceAccount]:
    """Returns accounts, newest first."""
    return await queries.page(connection, show_deleted=show_deleted, before=before, limit=limit)


async def update(
    connection: Connection, actor: Actor, id_: uuid.UUID, etag: str, fields: dict[str, Any]
) -> ServiceAccount:
    """Changes `fields` of a live account. What is as it was leaves no event and no new etag."""
    before = await _lock(connection, id_, etag)
    after = before._replace(**fields)
    changes = differences(before, after)
    if not changes:
        return before
    after = after._replace(version=before.version + 1, update_time=datetime.now(UTC))
    await queries.update(connection, after, actor.event(events.SERVICE_ACCOUNT_UPDATED, after.name, after.id, changes))
    return after


async def delete(connection: Connection, actor: Actor, id_: uuid.UUID, etag: str) -> ServiceAccount:
    """Revokes every key of the account, and deletes the tasks that it owned."""
    account = await _lock(connection, id_, etag)
    now = datetime.now(UTC)
    gone = account._replace(version=account.version + 1, update_time=now, delete_time=now, purge_time=now + PURGE_AFTER)
    changes = {"delete_time": [None, now.isoformat()]}
    await queries.update(connection, gone, actor.event(events.SERVICE_ACCOUNT_DELETED, gone.name, gone.id, changes))
    await queries.revoke_keys(connection, gone.id)
    await accounts.leave_tasks(connection, gone.id, gone.name, actor.principal.name, now, now + PURGE_AFTER)
    return gone


async def create_key(
    connection: Connection, actor: Actor, account_id: uuid.UUID, display_name: str, expire_time: datetime | None
) -> tuple[Key, str]:
    """Makes a key; returns it with its secret, which nobody can be told again. Raises KeyLimitReached."""
    await _lock(connection, account_id, "")
    if await queries.count_live_keys(connection, account_id) >= MAX_LIVE_KEYS:
        raise KeyLimitReached
    now = datetime.now(UTC)
    if expire_time is not None and expire_time <= now:
        raise InvalidArgument("key.expire_time", "must lie in the future")
    key = Key(new_id(), account_id, display_name, now, expire_time)
    secret, secret_hash = new_secret(key.id)
    changes = {"expire_time": [None, expire_time.isoformat() if expire_time else None]}
    await queries.insert_key(
        connection, key, secret_hash, actor.event(events.KEY_CREATED, key.name, account_id, changes)
    )
    return key, secret


async def page_of_keys(
    connection: Connection, account_id: uuid.UUID, *, before: uuid.UUID | None, limit: int
) -> list[Key]:
    """Returns the keys of an account, newest first. Raises NotFound."""
    await get(connection, account_id)
    return await queries.page_of_keys(connection, account_id, before=before, limit=limit)


async def revoke_key(connection: Connection, actor: Actor, account_id: uuid.UUID, id_: uuid.UUID) -> Key:
    """Ends a key and the tokens that it was exchanged for. Raises NotFound."""
    key = await queries.lock_key(connection, account_id, id_)
    if key is None:
        raise NotFound
    if key.revoke_time is not None:
        return key
    return await queries.revoke_key(connection, key, actor.event(events.KEY_REVOKED, key.name, account_id, {}))


async def _lock(connection: Connection, id_: uuid.UUID, etag: str) -> ServiceAccount:
    account = await queries.lock(connection, id_)
    if account is None:
        raise NotFound
    if etag and etag != account.etag:
        raise EtagMismatch(etag=account.etag)
    return account
