"""The SQL of accounts and sessions."""

from __future__ import annotations

import uuid
from typing import Any, NamedTuple

from psycopg.rows import class_row

from api_service.database import Connection
from api_service.origin import Origin
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
    #: Rises with every change of the password, and not when the same one is hashed anew.
    password_version: int
    #: Whether the owner has signed in from the caller's device before.
    device_known: bool


async def revoked_sessions(connection: Connection, seconds: int) -> dict[uuid.UUID, float]:
    """Returns what ended within the last `seconds`: sessions of users, and keys of service accounts.

    By each the first generation of tokens that is good; none where it has ended for good, or the account is disabled.
    """
    cursor = await connection.execute(
        """
        WITH since (time) AS (SELECT now() - make_interval(secs => %s))
        SELECT key.id, account.token_generation::float8 FROM service_accounts account
        JOIN service_account_keys key ON key.service_account_id = account.id
        WHERE account.token_end_time > (SELECT time FROM since)
        UNION ALL
        SELECT key.id, float8 'Infinity' FROM service_accounts account
        JOIN service_account_keys key ON key.service_account_id = account.id
        WHERE account.disable_time > (SELECT time FROM since)
        UNION ALL
        SELECT id, float8 'Infinity' FROM service_account_keys WHERE revoke_time > (SELECT time FROM since)
        UNION ALL
        SELECT id, float8 'Infinity' FROM sessions WHERE revoke_time > (SELECT time FROM since)
        """,
        (seconds,),
    )
    ends: dict[uuid.UUID, float] = {}
    for id_, generation in await cursor.fetchall():
        ends[id_] = max(generation, ends.get(id_, 0.0))
    return ends


async def user_by_email(connection: Connection, email: str) -> uuid.UUID | None:
    """Returns the id of the account with this address, or None."""
    cursor = await connection.execute("SELECT id FROM users WHERE email = %s", (email,))
    row = await cursor.fetchone()
    return row[0] if row else None


async def credentials(connection: Connection, email: str, device: bytes) -> CredentialsRow | None:
    """Returns what a sign-in has to be compared with, or None."""
    cursor = connection.cursor(row_factory=class_row(CredentialsRow))
    await cursor.execute(
        """
        SELECT id, password_hash, password_version,
               EXISTS (SELECT FROM devices WHERE user_id = users.id AND fingerprint = %s) AS device_known
        FROM users WHERE email = %s
        """,
        (device, email),
    )
    return await cursor.fetchone()


async def insert_registration(
    connection: Connection, id_: uuid.UUID, row: RegistrationRow, origin: Origin, link_seconds: int
) -> None:
    """Writes down an account that nobody has confirmed yet."""
    await connection.execute(
        """
        INSERT INTO registrations (id, email, password_hash, display_name, address, user_agent, expire_time)
        VALUES (%s, %s, %s, %s, %s, %s, now() + make_interval(secs => %s))
        """,
        (id_, *row, *origin, link_seconds),
    )


async def pending_registrations(connection: Connection, email: str) -> list[uuid.UUID]:
    """Returns up to two registrations of an address, newest first; those that expired lately count too."""
    cursor = await connection.execute(
        "SELECT id FROM registrations WHERE email = %s ORDER BY id DESC LIMIT 2", (email,)
    )
    return [row[0] for row in await cursor.fetchall()]


async def extend_registration(connection: Connection, id_: uuid.UUID, link_seconds: int) -> None:
    """Lets a registration begin its life anew."""
    await connection.execute(
        "UPDATE registrations SET expire_time = now() + make_interval(secs => %s) WHERE id = %s", (link_seconds, id_)
    )


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


async def rehash(connection: Connection, user: CredentialsRow, password_hash: str) -> None:
    """Stores the same password under newer parameters, unless it was changed in the meantime."""
    await connection.execute(
        "UPDATE users SET password_hash = %s WHERE id = %s AND password_version = %s",
        (password_hash, user.id, user.password_version),
    )


async def enqueue(connection: Connection, job: dict[str, Any]) -> None:
    """Promises a job, in the transaction of what caused it."""
    await connection.execute(INSERT_JOB, job)


async def append_event(connection: Connection, event: dict[str, Any]) -> None:
    """Writes a line of the log, in the transaction of what it tells."""
    await connection.execute(INSERT_EVENT, event)
