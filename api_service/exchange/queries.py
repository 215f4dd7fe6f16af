"""The SQL of exchanging a key."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any, NamedTuple

from psycopg.rows import class_row

from api_service.database import Connection
from shared.events import INSERT_EVENT


class KeyRow(NamedTuple):
    """A key with its account, as an exchange looks at it."""

    service_account_id: uuid.UUID
    secret_hash: bytes
    scopes: list[str]
    #: Of the account's tokens: those of the ones before are over.
    token_generation: int
    expire_time: datetime | None
    #: Whether neither the key nor its account has ended.
    live: bool
    #: Whether the last minute has seen it used already.
    use_noted: bool
    #: The same of a refusal.
    refusal_noted: bool


async def key(connection: Connection, id_: uuid.UUID) -> KeyRow | None:
    """Returns what is known of a key, or None."""
    cursor = connection.cursor(row_factory=class_row(KeyRow))
    await cursor.execute(
        """
        SELECT service_account_id, secret_hash, scopes, token_generation, expire_time,
               revoke_time IS NULL AND (expire_time IS NULL OR expire_time > now())
                   AND disable_time IS NULL AND delete_time IS NULL AS live,
               coalesce(last_use_time > now() - interval '1 minute', false) AS use_noted,
               coalesce(last_refuse_time > now() - interval '1 minute', false) AS refusal_noted
        FROM service_account_keys key JOIN service_accounts account ON account.id = key.service_account_id
        WHERE key.id = %s
        """,
        (id_,),
    )
    return await cursor.fetchone()


async def note_use(connection: Connection, id_: uuid.UUID, event: dict[str, Any]) -> None:
    """Writes that a key was used just now, and its event."""
    await connection.execute(
        f"""
        WITH event AS ({INSERT_EVENT})
        UPDATE service_account_keys SET last_use_time = now() WHERE id = %(key)s
        """,
        event | {"key": id_},
    )


async def note_refusal(connection: Connection, id_: uuid.UUID, event: dict[str, Any]) -> None:
    """Writes that a key was tried in vain just now, and its event."""
    await connection.execute(
        f"""
        WITH event AS ({INSERT_EVENT})
        UPDATE service_account_keys SET last_refuse_time = now() WHERE id = %(key)s
        """,
        event | {"key": id_},
    )
