"""The rules of accounts as resources. Knows no gRPC, and never commits."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

from api_service.accounts import service as accounts
from api_service.accounts.retention import PURGE_AFTER
from api_service.audit import UNTOLD, Actor
from api_service.database import Connection
from api_service.principal import Principal
from api_service.users import queries
from api_service.users.user import User
from shared import events
from shared.errors import EtagMismatch, LastAdmin, NotFound
from shared.ids import parse_name
from shared.states import PrincipalKind, Role, UserState

ME = "users/me"


async def get_user(connection: Connection, principal: Principal, name: str) -> User:
    """Returns the account with this name. Anybody else's does not exist, except for an administrator."""
    row = await queries.user(connection, _reach(principal, name))
    if row is None:
        raise NotFound
    return row


async def update(connection: Connection, actor: Actor, name: str, etag: str, display_name: str) -> User:
    """Changes how the owner is greeted. What is as it was leaves no event and no new etag."""
    user = await _lock(connection, actor.principal, name, etag)
    return await _write(connection, actor, events.USER_UPDATED, user, user._replace(display_name=display_name))


async def disable(connection: Connection, actor: Actor, name: str, etag: str) -> User:
    """Keeps the owner out: ends every session, and lets nobody open another one."""
    user = await _lock(connection, actor.principal, name, etag, loses_admin=True)
    await queries.end_sessions(connection, user.id)
    disabled = user._replace(disable_time=user.disable_time or datetime.now(UTC))
    return await _write(connection, actor, events.USER_DISABLED, user, disabled)


async def enable(connection: Connection, actor: Actor, name: str, etag: str) -> User:
    """Lets the owner sign in again."""
    user = await _lock(connection, actor.principal, name, etag)
    return await _write(connection, actor, events.USER_ENABLED, user, user._replace(disable_time=None))


async def set_role(connection: Connection, actor: Actor, name: str, etag: str, role: Role) -> User:
    """Changes what the account may do. Whoever may do less from now on has to sign in again."""
    user = await _lock(connection, actor.principal, name, etag, loses_admin=role is not Role.ADMIN)
    if user.role == Role.ADMIN and role is not Role.ADMIN:
        await queries.end_sessions(connection, user.id)
    return await _write(connection, actor, events.USER_ROLE_CHANGED, user, user._replace(role=role.value))


async def delete(connection: Connection, actor: Actor, name: str, etag: str) -> User:
    """Forgets whose account it was, and deletes the tasks that it owned."""
    user = await _lock(connection, actor.principal, name, etag, loses_admin=True)
    now = datetime.now(UTC)
    gone = user._replace(
        email=None,
        display_name="",
        role=Role.MEMBER.value,
        version=user.version + 1,
        update_time=now,
        disable_time=None,
        delete_time=now,
        purge_time=now + PURGE_AFTER,
    )
    await queries.forget_sessions(connection, user.id)
    changes = {"delete_time": [None, now.isoformat()]}
    event = actor.event(events.USER_DELETED, user.name, user.id, changes)
    await queries.anonymise(connection, gone, user.email, event)
    await accounts.leave_tasks(connection, user.id, user.name, actor.principal.name, now, now + PURGE_AFTER)
    return gone


async def page(
    connection: Connection,
    *,
    email: str,
    state: UserState | None,
    show_deleted: bool,
    before: uuid.UUID | None,
    limit: int,
) -> list[User]:
    """Returns accounts, newest first."""
    return await queries.page(
        connection, email=email, state=state, show_deleted=show_deleted, before=before, limit=limit
    )


def _reach(principal: Principal, name: str) -> uuid.UUID:
    """Returns the id in `name` if the principal may know of it. Raises NotFound."""
    if name == ME:
        if principal.kind is not PrincipalKind.USER:
            raise NotFound
        return principal.id
    id_ = parse_name(PrincipalKind.USER, name)
    if id_ != principal.id and not principal.holds("admin"):
        raise NotFound
    return id_


async def _lock(
    connection: Connection, principal: Principal, name: str, etag: str, *, loses_admin: bool = False
) -> User:
    """Returns a live account, locked. Raises LastAdmin if nobody could administer without it."""
    id_ = _reach(principal, name)
    locked = await queries.lock_with_admins(connection, id_)
    user = next((user for user in locked if user.id == id_), None)
    if user is None or user.state is UserState.DELETED:
        raise NotFound
    if etag and etag != user.etag:
        raise EtagMismatch(etag=user.etag)
    if loses_admin and user.administers and len(locked) == 1:
        raise LastAdmin
    return user


async def _write(connection: Connection, actor: Actor, kind: str, before: User, after: User) -> User:
    changes = _differences(before, after)
    if not changes:
        return before
    after = after._replace(version=before.version + 1, update_time=datetime.now(UTC))
    await queries.update(connection, after, actor.event(kind, after.name, after.id, changes))
    return after


def _differences(before: User, after: User) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    if before.display_name != after.display_name:
        changes["display_name"] = UNTOLD
    if before.role != after.role:
        changes["role"] = [before.role, after.role]
    if before.state is not after.state:
        changes["state"] = [before.state, after.state]
    return changes
