"""The SQL of accounts and sessions."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any, NamedTuple

from psycopg.rows import class_row

from api_service.database import Connection
from shared.events import INSERT_EVENT
from shared.outbox import INSERT_JOB


class RegistrationRow(NamedTuple):
    """What a registration becomes an account with."""

    email: str
    password_hash: str
    display_name: str


class CredentialsRow(NamedTuple):
    """What Login needs to know of an account."""

    id: uuid.UUID
    password_hash: str
    role: str
    disabled: bool


class RefreshTokenRow(NamedTuple):
    """A refresh token with its session and its account, and how old things are by the database's clock."""

    session_id: uuid.UUID
    user_id: uuid.UUID
    role: str
    session_expire_time: datetime
    over: bool
    used_seconds_ago: float | None


async def revoked_sessions(connection: Connection, seconds: int) -> list[uuid.UUID]:
    """Returns the sessions revoked within the last `seconds`."""
    cursor = await connection.execute(
        "SELECT id FROM sessions WHERE revoke_time > now() - make_interval(secs => %s)", (seconds,)
    )
    return [row[0] for row in await cursor.fetchall()]


async def user_by_email(connection: Connection, email: str) -> CredentialsRow | None:
    """Returns the account with this address, or None."""
    cursor = connection.cursor(row_factory=class_row(CredentialsRow))
    await cursor.execute(
        "SELECT id, password_hash, role, disable_time IS NOT NULL AS disabled FROM users WHERE email = %s", (email,)
    )
    return await cursor.fetchone()


async def insert_registration(connection: Connection, id_: uuid.UUID, row: RegistrationRow, link_seconds: int) -> None:
    """Writes down an account that nobody has confirmed yet."""
    await connection.execute(
        """
        INSERT INTO registrations (id, email, password_hash, display_name, expire_time)
        VALUES (%s, %s, %s, %s, now() + make_interval(secs => %s))
        """,
        (id_, *row, link_seconds),
    )


async def extend_registration(connection: Connection, email: str, link_seconds: int) -> uuid.UUID | None:
    """Lets the newest registration of an address begin its life anew; returns its id, or None if there is none."""
    cursor = await connection.execute(
        """
        UPDATE registrations SET expire_time = now() + make_interval(secs => %s)
        WHERE id = (SELECT id FROM registrations WHERE email = %s ORDER BY id DESC LIMIT 1)
        RETURNING id
        """,
        (link_seconds, email),
    )
    row = await cursor.fetchone()
    return row[0] if row else None


async def take_registrations(connection: Connection, id_: uuid.UUID) -> RegistrationRow | None:
    """Uses up a registration that has not expired, and with it the others of its address; returns the one.

    Locks them in one order: two links of one address, opened at once, would otherwise wait for each other.
    """
    cursor = connection.cursor(row_factory=class_row(RegistrationRow))
    await cursor.execute(
        """
        WITH locked AS (
            SELECT id FROM registrations
            WHERE email = (SELECT email FROM registrations WHERE id = %(id)s AND expire_time > now())
            ORDER BY id FOR UPDATE
        ), taken AS (
            DELETE FROM registrations USING locked WHERE registrations.id = locked.id
            RETURNING registrations.id, email, password_hash, display_name
        )
        SELECT email, password_hash, display_name FROM taken WHERE id = %(id)s
        """,
        {"id": id_},
    )
    return await cursor.fetchone()


async def insert_user(connection: Connection, id_: uuid.UUID, row: RegistrationRow, role: str = "MEMBER") -> bool:
    """Makes an account; returns False where the address has one already."""
    cursor = await connection.execute(
        """
        INSERT INTO users (id, email, password_hash, display_name, role) VALUES (%s, %s, %s, %s, %s)
        ON CONFLICT (email) DO NOTHING
        """,
        (id_, *row, role),
    )
    return cursor.rowcount == 1


async def set_password_hash(connection: Connection, user_id: uuid.UUID, password_hash: str) -> None:
    """Stores the same password under newer parameters."""
    await connection.execute("UPDATE users SET password_hash = %s WHERE id = %s", (password_hash, user_id))


async def lock_active_user(connection: Connection, user_id: uuid.UUID) -> str | None:
    """Returns the role of an account that may open a session, or None; nobody can disable it until the commit."""
    cursor = await connection.execute(
        "SELECT role FROM users WHERE id = %s AND disable_time IS NULL AND delete_time IS NULL FOR SHARE", (user_id,)
    )
    row = await cursor.fetchone()
    return row[0] if row else None


async def insert_session(
    connection: Connection,
    session_id: uuid.UUID,
    user_id: uuid.UUID,
    token_hash: bytes,
    *,
    session_seconds: int,
    token_seconds: int,
) -> datetime:
    """Opens a session with its first refresh token; returns when that token expires."""
    cursor = await connection.execute(
        """
        WITH session AS (
            INSERT INTO sessions (id, user_id, expire_time)
            VALUES (%(session_id)s, %(user_id)s, now() + make_interval(secs => %(session_seconds)s))
            RETURNING id, expire_time
        )
        INSERT INTO refresh_tokens (token_hash, session_id, expire_time)
        SELECT %(token_hash)s, id, least(expire_time, now() + make_interval(secs => %(token_seconds)s)) FROM session
        RETURNING expire_time
        """,
        {
            "session_id": session_id,
            "user_id": user_id,
            "token_hash": token_hash,
            "session_seconds": session_seconds,
            "token_seconds": token_seconds,
        },
    )
    return _time(await cursor.fetchone())


async def lock_refresh_token(connection: Connection, token_hash: bytes) -> RefreshTokenRow | None:
    """Returns what is known of a refresh token, its session locked against other refreshes."""
    cursor = connection.cursor(row_factory=class_row(RefreshTokenRow))
    await cursor.execute(
        """
        SELECT session.id AS session_id, session.user_id, users.role, session.expire_time AS session_expire_time,
               session.revoke_time IS NOT NULL OR session.expire_time <= now() OR token.expire_time <= now() AS over,
               extract(epoch FROM clock_timestamp() - token.use_time)::float8 AS used_seconds_ago
        FROM refresh_tokens token
        JOIN sessions session ON session.id = token.session_id
        JOIN users ON users.id = session.user_id
        WHERE token.token_hash = %s
        FOR UPDATE OF session, token
        """,
        (token_hash,),
    )
    return await cursor.fetchone()


async def rotate_refresh_token(
    connection: Connection, session_id: uuid.UUID, old_hash: bytes, new_hash: bytes, token_seconds: int
) -> datetime:
    """Marks one token as used and adds the next; returns when that one expires."""
    cursor = await connection.execute(
        """
        WITH used AS (
            UPDATE refresh_tokens SET use_time = coalesce(use_time, clock_timestamp()) WHERE token_hash = %(old)s
        )
        INSERT INTO refresh_tokens (token_hash, session_id, expire_time)
        SELECT %(new)s, id, least(expire_time, now() + make_interval(secs => %(seconds)s))
        FROM sessions WHERE id = %(session)s
        RETURNING expire_time
        """,
        {"old": old_hash, "new": new_hash, "session": session_id, "seconds": token_seconds},
    )
    return _time(await cursor.fetchone())


async def revoke_session(connection: Connection, session_id: uuid.UUID) -> None:
    """Ends a session, if it is not over."""
    await connection.execute(
        "UPDATE sessions SET revoke_time = now() WHERE id = %s AND revoke_time IS NULL", (session_id,)
    )


async def enqueue(connection: Connection, job: dict[str, Any]) -> None:
    """Promises a job, in the transaction of what caused it."""
    await connection.execute(INSERT_JOB, job)


async def append_event(connection: Connection, event: dict[str, Any]) -> None:
    """Writes a line of the log, in the transaction of what it tells."""
    await connection.execute(INSERT_EVENT, event)


def _time(row: tuple[Any, ...] | None) -> datetime:
    assert row is not None, "INSERT … RETURNING of one row"  # noqa: S101
    time: datetime = row[0]
    return time
