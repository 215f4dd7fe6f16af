"""The SQL of service accounts and their keys as resources."""

from __future__ import annotations

import uuid
from typing import Any

from api_service.database import Connection
from api_service.service_accounts.account import ServiceAccount
from api_service.service_accounts.key import Key
from shared.events import INSERT_EVENT

COLUMNS = ", ".join(ServiceAccount._fields).replace("disabled", "disable_time IS NOT NULL")
KEY_COLUMNS = ", ".join(Key._fields)
_WRITTEN = ", ".join(ServiceAccount._fields).replace("disabled", "disable_time")
_VALUES = ", ".join(f"%({field})s" for field in ServiceAccount._fields).replace(
    # by the clock that the list of what is over goes by
    "%(disabled)s",
    "CASE WHEN %(disabled)s THEN {since} END",
)
_KEY_VALUES = ", ".join(f"%({field})s" for field in Key._fields)
#: Whether tokens that are out may do more than the account is to do from now on: it was disabled and is not to be any
#: longer, or a scope is taken from it.
_OUTGROWN = "disable_time IS NOT NULL AND NOT %(disabled)s OR NOT scopes <@ %(scopes)s::text[]"
_LAST_ID = uuid.UUID(int=2**128 - 1)


async def insert(connection: Connection, account: ServiceAccount, event: dict[str, Any]) -> None:
    """Writes a new account and its event."""
    await connection.execute(
        f"WITH event AS ({INSERT_EVENT}) INSERT INTO service_accounts ({_WRITTEN})"
        f" VALUES ({_VALUES.format(since='now()')})",
        account._asdict() | event,
    )


async def get(connection: Connection, id_: uuid.UUID) -> ServiceAccount | None:
    """Returns an account, deleted ones included, or None."""
    cursor = await connection.execute(f"SELECT {COLUMNS} FROM service_accounts WHERE id = %s", (id_,))
    row = await cursor.fetchone()
    return ServiceAccount._make(row) if row else None


async def lock(connection: Connection, id_: uuid.UUID) -> ServiceAccount | None:
    """Returns a live account, locked until the end of the transaction, or None."""
    cursor = await connection.execute(
        f"SELECT {COLUMNS} FROM service_accounts WHERE id = %s AND delete_time IS NULL FOR NO KEY UPDATE", (id_,)
    )
    row = await cursor.fetchone()
    return ServiceAccount._make(row) if row else None


async def update(connection: Connection, account: ServiceAccount, event: dict[str, Any]) -> None:
    """Writes a locked account as it is now, and its event.

    Tokens from before it was disabled stay dead, and those that hold a scope that it loses are over.
    """
    await connection.execute(
        f"""
        WITH event AS ({INSERT_EVENT})
        UPDATE service_accounts SET ({_WRITTEN}) = ({_VALUES.format(since="coalesce(disable_time, now())")}),
            token_generation = token_generation + ({_OUTGROWN})::integer,
            token_end_time = CASE WHEN {_OUTGROWN} THEN now() ELSE token_end_time END
        WHERE id = %(id)s
        """,
        account._asdict() | event,
    )


async def page(
    connection: Connection, *, show_deleted: bool, before: uuid.UUID | None, limit: int
) -> list[ServiceAccount]:
    """Returns up to `limit` accounts, newest first, older than `before`."""
    live = "" if show_deleted else " AND delete_time IS NULL"
    cursor = await connection.execute(
        f"SELECT {COLUMNS} FROM service_accounts WHERE id < %s{live} ORDER BY id DESC LIMIT %s",
        (before or _LAST_ID, limit),
    )
    return [ServiceAccount._make(row) for row in await cursor.fetchall()]


async def count_live_keys(connection: Connection, account_id: uuid.UUID) -> int:
    """Returns how many keys of an account are neither revoked nor expired."""
    cursor = await connection.execute(
        """
        SELECT count(*) FROM service_account_keys
        WHERE service_account_id = %s AND revoke_time IS NULL AND (expire_time IS NULL OR expire_time > now())
        """,
        (account_id,),
    )
    row = await cursor.fetchone()
    return row[0] if row else 0


async def insert_key(connection: Connection, key: Key, secret_hash: bytes, event: dict[str, Any]) -> None:
    """Writes a new key and its event."""
    await connection.execute(
        f"""
        WITH event AS ({INSERT_EVENT})
        INSERT INTO service_account_keys ({KEY_COLUMNS}, secret_hash) VALUES ({_KEY_VALUES}, %(secret_hash)s)
        """,
        key._asdict() | event | {"secret_hash": secret_hash},
    )


async def lock_key(connection: Connection, account_id: uuid.UUID, id_: uuid.UUID) -> Key | None:
    """Returns a key of an account, locked until the end of the transaction, or None."""
    cursor = await connection.execute(
        f"""
        SELECT {KEY_COLUMNS} FROM service_account_keys WHERE id = %s AND service_account_id = %s FOR NO KEY UPDATE
        """,
        (id_, account_id),
    )
    row = await cursor.fetchone()
    return Key._make(row) if row else None


async def revoke_key(connection: Connection, key: Key, event: dict[str, Any]) -> Key:
    """Revokes a locked key, with its event; returns it as it is now.

    By the database's clock, which also says how long its tokens have to be kept out.
    """
    cursor = await connection.execute(
        f"""
        WITH event AS ({INSERT_EVENT})
        UPDATE service_account_keys SET revoke_time = now() WHERE id = %(id)s RETURNING {KEY_COLUMNS}
        """,
        {"id": key.id} | event,
    )
    [row] = await cursor.fetchall()
    return Key._make(row)


async def revoke_keys(connection: Connection, account_id: uuid.UUID) -> None:
    """Revokes every key of an account."""
    await connection.execute(
        "UPDATE service_account_keys SET revoke_time = now() WHERE service_account_id = %s AND revoke_time IS NULL",
        (account_id,),
    )


async def page_of_keys(
    connection: Connection, account_id: uuid.UUID, *, before: uuid.UUID | None, limit: int
) -> list[Key]:
    """Returns up to `limit` keys of an account, newest first, older than `before`."""
    cursor = await connection.execute(
        f"""
        SELECT {KEY_COLUMNS} FROM service_account_keys
        WHERE service_account_id = %s AND id < %s ORDER BY id DESC LIMIT %s
        """,
        (account_id, before or _LAST_ID, limit),
    )
    return [Key._make(row) for row in await cursor.fetchall()]
