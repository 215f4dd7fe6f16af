"""The SQL of sessions, their refresh tokens, and the devices that they were opened from."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any, NamedTuple

from psycopg.rows import class_row

from api_service.database import Connection
from api_service.origin import Origin
from shared import events

_LAST_ID = uuid.UUID(int=2**128 - 1)

_LIVE = "revoke_time IS NULL AND expire_time > now() AND idle_expire_time > now()"

#: Writes an event for each session of the CTE `revoked`.
_TELL = f"""
INSERT INTO events (kind, resource, actor, owner_id, changes, context)
SELECT '{events.SESSION_REVOKED}', 'sessions/' || id, %(actor)s, user_id,
       jsonb_build_object('reason', jsonb_build_array(NULL, %(reason)s::text)),
       jsonb_build_object('address', %(address)s::text, 'user_agent', %(user_agent)s::text)
FROM revoked ORDER BY id
"""


class SessionRow(NamedTuple):
    """A session as its owner sees it."""

    id: uuid.UUID
    create_time: datetime
    use_time: datetime
    expire_time: datetime
    address: str
    user_agent: str


class RefreshTokenRow(NamedTuple):
    """A refresh token with its session and its account, and how old things are by the database's clock."""

    session_id: uuid.UUID
    user_id: uuid.UUID
    role: str
    over: bool
    used_seconds_ago: float | None


class Ending(NamedTuple):
    """Why sessions end, by whom and where from: what the audit keeps."""

    reason: str
    actor: str
    origin: Origin

    def parameters(self) -> dict[str, Any]:
        """Returns the parameters of the statements that end sessions."""
        return {"reason": self.reason, "actor": self.actor, **self.origin.context}


async def lock_role(connection: Connection, user_id: uuid.UUID, password_version: int) -> str | None:
    """Returns the role of an account that may open a session, if it still has this password.

    Nobody can change, disable or delete it until the commit.
    """
    cursor = await connection.execute(
        """
        SELECT role FROM users
        WHERE id = %s AND password_version = %s AND disable_time IS NULL AND delete_time IS NULL FOR SHARE
        """,
        (user_id, password_version),
    )
    row = await cursor.fetchone()
    return row[0] if row else None


async def insert(
    connection: Connection,
    session_id: uuid.UUID,
    user_id: uuid.UUID,
    token_hash: bytes,
    origin: Origin,
    *,
    session_seconds: int,
    token_seconds: int,
) -> datetime:
    """Opens a session with its first refresh token; returns when that token expires."""
    cursor = await connection.execute(
        """
        WITH session AS (
            INSERT INTO sessions (id, user_id, expire_time, idle_expire_time, address, user_agent)
            VALUES (%(session_id)s, %(user_id)s, now() + make_interval(secs => %(session_seconds)s),
                    now() + make_interval(secs => least(%(session_seconds)s, %(token_seconds)s)),
                    %(address)s, %(user_agent)s)
            RETURNING id, idle_expire_time
        )
        INSERT INTO refresh_tokens (token_hash, session_id, expire_time)
        SELECT %(token_hash)s, id, idle_expire_time FROM session
        RETURNING expire_time
        """,
        {
            "session_id": session_id,
            "user_id": user_id,
            "token_hash": token_hash,
            "session_seconds": session_seconds,
            "token_seconds": token_seconds,
            **origin.context,
        },
    )
    return _time(await cursor.fetchone())


async def note_device(connection: Connection, user_id: uuid.UUID, fingerprint: bytes) -> bool:
    """Notes that the owner has signed in from a device; returns whether it is new, and not the first of all."""
    cursor = await connection.execute(
        """
        WITH known AS (
            SELECT count(*) AS devices, count(*) FILTER (WHERE fingerprint = %(fingerprint)s) AS same
            FROM devices WHERE user_id = %(user_id)s
        ), noted AS (
            INSERT INTO devices (user_id, fingerprint) VALUES (%(user_id)s, %(fingerprint)s)
            ON CONFLICT (user_id, fingerprint) DO UPDATE SET use_time = now()
        )
        SELECT devices > 0 AND same = 0 FROM known
        """,
        {"user_id": user_id, "fingerprint": fingerprint},
    )
    row = await cursor.fetchone()
    return row is not None and row[0]


async def keep_device(connection: Connection, user_id: uuid.UUID, fingerprint: bytes | None) -> None:
    """Forgets every device of an account but one, which from now on is known; or every one."""
    await connection.execute(
        """
        WITH forgotten AS (
            DELETE FROM devices WHERE user_id = %(user_id)s AND fingerprint IS DISTINCT FROM %(fingerprint)s::bytea
        )
        INSERT INTO devices (user_id, fingerprint)
        SELECT %(user_id)s, %(fingerprint)s::bytea WHERE %(fingerprint)s::bytea IS NOT NULL
        ON CONFLICT (user_id, fingerprint) DO NOTHING
        """,
        {"user_id": user_id, "fingerprint": fingerprint},
    )


async def lock_refresh_token(connection: Connection, token_hash: bytes) -> RefreshTokenRow | None:
    """Returns what is known of a refresh token, its session locked against other refreshes."""
    cursor = connection.cursor(row_factory=class_row(RefreshTokenRow))
    await cursor.execute(
        """
        SELECT session.id AS session_id, session.user_id, users.role,
               session.revoke_time IS NOT NULL
                   OR least(session.expire_time, session.idle_expire_time, token.expire_time) <= now() AS over,
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


async def rotate(
    connection: Connection,
    session_id: uuid.UUID,
    old_hash: bytes,
    new_hash: bytes,
    origin: Origin,
    token_seconds: int,
) -> datetime:
    """Marks one token as used and adds the next, if it is not there; returns when that one expires."""
    cursor = await connection.execute(
        """
        WITH used AS (
            UPDATE refresh_tokens SET use_time = coalesce(use_time, clock_timestamp()) WHERE token_hash = %(old)s
        ), session AS (
            UPDATE sessions SET use_time = now(), address = %(address)s, user_agent = %(user_agent)s,
                idle_expire_time = least(expire_time, now() + make_interval(secs => %(seconds)s))
            WHERE id = %(session)s RETURNING id, idle_expire_time
        )
        INSERT INTO refresh_tokens AS held (token_hash, session_id, expire_time)
        SELECT %(new)s, id, idle_expire_time FROM session
        ON CONFLICT (token_hash) DO UPDATE SET expire_time = held.expire_time
        RETURNING expire_time
        """,
        {"old": old_hash, "new": new_hash, "session": session_id, "seconds": token_seconds, **origin.context},
    )
    return _time(await cursor.fetchone())


async def page(connection: Connection, user_id: uuid.UUID, *, before: uuid.UUID | None, limit: int) -> list[SessionRow]:
    """Returns up to `limit` sessions that are not over, newest first, older than `before`."""
    cursor = connection.cursor(row_factory=class_row(SessionRow))
    await cursor.execute(
        f"""
        SELECT id, create_time, use_time, idle_expire_time AS expire_time, address, user_agent
        FROM sessions WHERE user_id = %s AND id < %s AND {_LIVE} ORDER BY id DESC LIMIT %s
        """,
        (user_id, before or _LAST_ID, limit),
    )
    return await cursor.fetchall()


async def exists(connection: Connection, session_id: uuid.UUID, user_id: uuid.UUID) -> bool:
    """Whether the user has, or lately had, such a session."""
    cursor = await connection.execute("SELECT 1 FROM sessions WHERE id = %s AND user_id = %s", (session_id, user_id))
    return await cursor.fetchone() is not None


async def revoke(connection: Connection, session_id: uuid.UUID, user_id: uuid.UUID, ending: Ending) -> bool:
    """Ends a session of a user, if it is not over; returns whether it was open."""
    cursor = await connection.execute(
        f"""
        WITH revoked AS (
            UPDATE sessions SET revoke_time = now() WHERE id = %(id)s AND user_id = %(user_id)s AND revoke_time IS NULL
            RETURNING id, user_id
        ), told AS ({_TELL})
        SELECT id FROM revoked
        """,
        {"id": session_id, "user_id": user_id, **ending.parameters()},
    )
    return await cursor.fetchone() is not None


async def revoke_all(
    connection: Connection, user_id: uuid.UUID, ending: Ending, *, spared: uuid.UUID | None = None
) -> list[uuid.UUID]:
    """Ends every session of a user but one; returns those that were open."""
    cursor = await connection.execute(
        f"""
        WITH revoked AS (
            UPDATE sessions SET revoke_time = now()
            WHERE user_id = %(user_id)s AND {_LIVE} AND id IS DISTINCT FROM %(spared)s
            RETURNING id, user_id
        ), told AS ({_TELL})
        SELECT id FROM revoked
        """,
        {"user_id": user_id, "spared": spared, **ending.parameters()},
    )
    return [row[0] for row in await cursor.fetchall()]


def _time(row: tuple[Any, ...] | None) -> datetime:
    assert row is not None, "INSERT … RETURNING of one row"  # noqa: S101
    time: datetime = row[0]
    return time
