"""The SQL of passwords and addresses, and of the links that change them."""

from __future__ import annotations

import uuid
from typing import Any, NamedTuple

from psycopg.rows import class_row

from api_service.database import Connection
from api_service.origin import Origin

_ACTIVE = "disable_time IS NULL AND delete_time IS NULL"


class AccountRow(NamedTuple):
    """What a change of credentials has to know of an account."""

    id: uuid.UUID
    email: str
    password_hash: str
    password_version: int


class LinkRow(NamedTuple):
    """A link that can be used: of an account, or to an address that is not an account yet."""

    id: uuid.UUID
    user_id: uuid.UUID | None
    #: The address that the link is about: the account's, the new one, or that of the pending registrations.
    email: str
    old_email: str | None


_LINK = """
SELECT links.id, user_id, coalesce(links.email, users.email) AS email, old_email
FROM links LEFT JOIN users ON users.id = user_id
WHERE links.id = %s AND purpose = %s AND use_time IS NULL AND expire_time > now()
    AND disable_time IS NULL AND delete_time IS NULL
"""


async def account(connection: Connection, user_id: uuid.UUID) -> AccountRow | None:
    """Returns an account that can be used, or None."""
    cursor = connection.cursor(row_factory=class_row(AccountRow))
    await cursor.execute(
        f"SELECT id, email, password_hash, password_version FROM users WHERE id = %s AND {_ACTIVE}", (user_id,)
    )
    return await cursor.fetchone()


async def active_user(connection: Connection, email: str) -> uuid.UUID | None:
    """Returns the id of the account with this address, if it can be used."""
    cursor = await connection.execute(f"SELECT id FROM users WHERE email = %s AND {_ACTIVE}", (email,))
    row = await cursor.fetchone()
    return row[0] if row else None


async def set_password(
    connection: Connection, user_id: uuid.UUID, password_hash: str, *, instead_of: int | None = None
) -> bool:
    """Changes the password, if the account can be used and `instead_of` is still its version; returns whether it did.

    A statement of its own: sessions that were opened until now are seen by those that follow.
    """
    cursor = await connection.execute(
        f"""
        UPDATE users SET password_hash = %(hash)s, password_version = password_version + 1,
                         version = version + 1, update_time = now()
        WHERE id = %(id)s AND {_ACTIVE} AND password_version = coalesce(%(version)s, password_version)
        """,
        {"id": user_id, "hash": password_hash, "version": instead_of},
    )
    return cursor.rowcount == 1


async def set_email(connection: Connection, user_id: uuid.UUID, old: str, new: str) -> bool:
    """Changes the address, if it is still the old one and the account can be used; returns whether it did."""
    cursor = await connection.execute(
        f"""
        UPDATE users SET email = %(new)s, version = version + 1, update_time = now()
        WHERE id = %(id)s AND email = %(old)s AND {_ACTIVE}
        """,
        {"id": user_id, "old": old, "new": new},
    )
    return cursor.rowcount == 1


async def insert_link(
    connection: Connection,
    id_: uuid.UUID,
    purpose: str,
    origin: Origin,
    seconds: int,
    *,
    user_id: uuid.UUID | None = None,
    email: str | None = None,
    old_email: str | None = None,
) -> None:
    """Writes down a link that is about to be mailed."""
    parameters: dict[str, Any] = {
        "id": id_,
        "purpose": purpose,
        "user_id": user_id,
        "email": email,
        "old_email": old_email,
        "seconds": seconds,
        **origin.context,
    }
    await connection.execute(
        """
        INSERT INTO links (id, purpose, user_id, email, old_email, address, user_agent, expire_time)
        VALUES (%(id)s, %(purpose)s, %(user_id)s, %(email)s, %(old_email)s, %(address)s, %(user_agent)s,
                now() + make_interval(secs => %(seconds)s))
        """,
        parameters,
    )


async def link(connection: Connection, id_: uuid.UUID, purpose: str) -> LinkRow | None:
    """Returns a link that can be used, or None."""
    cursor = connection.cursor(row_factory=class_row(LinkRow))
    await cursor.execute(_LINK, (id_, purpose))
    return await cursor.fetchone()


async def use_link(connection: Connection, id_: uuid.UUID, purpose: str) -> LinkRow | None:
    """Uses up a link; returns it, or None where it cannot be used. Of two who open one, the second finds it used.

    Locks the account before its links, as every change of an account does, and the links of an address in one order.
    """
    row = await link(connection, id_, purpose)
    if row is None:
        return None
    if row.user_id is not None:
        await connection.execute("SELECT 1 FROM users WHERE id = %s FOR NO KEY UPDATE", (row.user_id,))
    else:
        await connection.execute(
            "SELECT 1 FROM links WHERE email = %s AND user_id IS NULL ORDER BY id FOR UPDATE", (row.email,)
        )
    cursor = await connection.execute(
        "UPDATE links SET use_time = now() WHERE id = %s AND use_time IS NULL AND expire_time > now()", (id_,)
    )
    return row if cursor.rowcount else None


async def drop_links(connection: Connection, user_id: uuid.UUID, purpose: str | None = None) -> None:
    """Makes every link of an account, or every one of a purpose, worthless that was not used."""
    await connection.execute(
        "DELETE FROM links WHERE user_id = %s AND use_time IS NULL AND purpose = coalesce(%s, purpose)",
        (user_id, purpose),
    )


async def drop_registrations(connection: Connection, email: str) -> None:
    """Makes every pending registration of an address worthless, and every link to choose a password for it.

    Locks registrations in one order, as those do who open their links.
    """
    await connection.execute(
        """
        WITH locked AS (SELECT id FROM registrations WHERE email = %(email)s ORDER BY id FOR UPDATE),
        dropped AS (DELETE FROM links WHERE email = %(email)s AND user_id IS NULL AND use_time IS NULL)
        DELETE FROM registrations USING locked WHERE registrations.id = locked.id
        """,
        {"email": email},
    )


async def registered(connection: Connection, email: str) -> bool:
    """Whether a registration of the address is pending."""
    cursor = await connection.execute("SELECT 1 FROM registrations WHERE email = %s LIMIT 1", (email,))
    return await cursor.fetchone() is not None
