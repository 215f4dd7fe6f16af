"""The SQL of accounts as resources."""

from __future__ import annotations

import uuid
from typing import Any

from api_service.database import Connection
from api_service.users.user import User
from shared.events import INSERT_EVENT
from shared.states import UserState

COLUMNS = ", ".join(User._fields)
_LAST_ID = uuid.UUID(int=2**128 - 1)

_CONDITIONS = {
    UserState.ACTIVE: "disable_time IS NULL AND delete_time IS NULL",
    UserState.DISABLED: "disable_time IS NOT NULL AND delete_time IS NULL",
    UserState.DELETED: "delete_time IS NOT NULL",
}


async def user(connection: Connection, id_: uuid.UUID) -> User | None:
    """Returns an account, deleted ones included, or None."""
    cursor = await connection.execute(f"SELECT {COLUMNS} FROM users WHERE id = %s", (id_,))
    row = await cursor.fetchone()
    return User._make(row) if row else None


async def lock_with_admins(connection: Connection, id_: uuid.UUID) -> list[User]:
    """Returns an account, and of an administrator everybody else who administers, locked in one order until the commit.

    Whoever takes an administrator away holds all of them: two who each take another one away come one after the other.
    Other accounts are nobody's business but their own. One that is made an administrator at this moment looks like the
    only one.
    """
    cursor = await connection.execute(
        f"""
        SELECT {COLUMNS} FROM users
        WHERE id = %(id)s OR (
            role = 'ADMIN' AND {_CONDITIONS[UserState.ACTIVE]} AND (SELECT role FROM users WHERE id = %(id)s) = 'ADMIN'
        )
        ORDER BY id FOR NO KEY UPDATE
        """,
        {"id": id_},
    )
    return [User._make(row) for row in await cursor.fetchall()]


async def update(connection: Connection, user: User, event: dict[str, Any]) -> None:
    """Writes a locked account as it is now, and its event."""
    await connection.execute(
        f"""
        WITH event AS ({INSERT_EVENT})
        UPDATE users SET display_name = %(display_name)s, role = %(role)s, disable_time = %(disable_time)s,
                         update_time = %(update_time)s, version = %(version)s
        WHERE id = %(id)s
        """,
        user._asdict() | event,
    )


async def anonymise(connection: Connection, user: User, email: str | None, event: dict[str, Any]) -> None:
    """Writes a locked account as deleted, with everything forgotten that it was known by, and its event.

    Stored answers to its calls hold its address and name, so they go too.
    """
    await connection.execute(
        f"""
        WITH event AS ({INSERT_EVENT}),
        registration AS (DELETE FROM registrations WHERE email = %(known_as)s),
        answer AS (DELETE FROM idempotency_records WHERE principal = %(name)s),
        link AS (DELETE FROM links WHERE user_id = %(id)s),
        device AS (DELETE FROM devices WHERE user_id = %(id)s)
        UPDATE users SET email = NULL, password_hash = '', display_name = '', role = %(role)s,
                         update_time = %(update_time)s, disable_time = %(disable_time)s,
                         delete_time = %(delete_time)s, purge_time = %(purge_time)s, version = %(version)s
        WHERE id = %(id)s
        """,
        user._asdict() | event | {"known_as": email, "name": user.name},
    )


async def end_sessions(connection: Connection, user_id: uuid.UUID) -> None:
    """Ends every session of an account."""
    await connection.execute(
        "UPDATE sessions SET revoke_time = now() WHERE user_id = %s AND revoke_time IS NULL", (user_id,)
    )


async def forget_sessions(connection: Connection, user_id: uuid.UUID) -> None:
    """Ends every session of an account, and forgets where they were used; they stay until no token names them."""
    await connection.execute(
        """
        UPDATE sessions SET revoke_time = coalesce(revoke_time, now()), address = '', user_agent = ''
        WHERE user_id = %s
        """,
        (user_id,),
    )


async def page(
    connection: Connection,
    *,
    email: str,
    state: UserState | None,
    show_deleted: bool,
    before: uuid.UUID | None,
    limit: int,
) -> list[User]:
    """Returns up to `limit` accounts, newest first, older than `before`."""
    conditions = ["id < %(before)s"]
    if email:
        conditions.append("email = %(email)s")
    if state is not None:
        conditions.append(_CONDITIONS[state])
    if not show_deleted:
        conditions.append("delete_time IS NULL")
    cursor = await connection.execute(
        f"SELECT {COLUMNS} FROM users WHERE {' AND '.join(conditions)} ORDER BY id DESC LIMIT %(limit)s",
        {"email": email, "before": before or _LAST_ID, "limit": limit},
    )
    return [User._make(row) for row in await cursor.fetchall()]
