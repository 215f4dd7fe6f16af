"""The SQL of signing keys. All times are the database's: no process has to trust its own clock."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from psycopg.rows import class_row

from api_service.database import Connection
from shared.events import INSERT_EVENT
from shared.revocations import CHANNEL

_COLUMNS = "kid, sealed_private_key, create_time, sign_from_time, expire_time, clock_timestamp() AS now"


class SigningKeyRow(NamedTuple):
    """A row of `signing_keys`, and what time it was when it was read."""

    kid: str
    sealed_private_key: bytes
    create_time: datetime
    sign_from_time: datetime
    expire_time: datetime | None
    now: datetime

    @property
    def signs_in(self) -> float:
        """Seconds until it may sign; past for one that may."""
        return (self.sign_from_time - self.now).total_seconds()


async def signing_keys(connection: Connection) -> list[SigningKeyRow]:
    """Returns the published keys, in the order in which they sign."""
    cursor = connection.cursor(row_factory=class_row(SigningKeyRow))
    await cursor.execute(
        f"""
        SELECT {_COLUMNS} FROM signing_keys
        WHERE expire_time IS NULL OR expire_time > clock_timestamp()
        ORDER BY sign_from_time, kid
        """
    )
    return await cursor.fetchall()


async def all_older(connection: Connection, age: float) -> bool:
    """Whether there are keys, and every one was made so many seconds ago."""
    cursor = await connection.execute(
        "SELECT max(create_time) <= clock_timestamp() - make_interval(secs => %s) FROM signing_keys", (age,)
    )
    row = await cursor.fetchone()
    return bool(row and row[0])


async def lock_signing_keys(connection: Connection) -> None:
    """Lets one at a time change the keys, and everybody read them; until the end of the transaction."""
    await connection.execute("LOCK TABLE signing_keys IN SHARE ROW EXCLUSIVE MODE")


async def insert_signing_key(
    connection: Connection, *, kid: str, public_key: bytes, sealed_private_key: bytes, signs_in: float
) -> SigningKeyRow:
    """Publishes a key that signs in so many seconds."""
    cursor = connection.cursor(row_factory=class_row(SigningKeyRow))
    await cursor.execute(
        f"""
        INSERT INTO signing_keys (kid, public_key, sealed_private_key, sign_from_time)
        VALUES (%s, %s, %s, clock_timestamp() + make_interval(secs => greatest(0, %s)))
        RETURNING {_COLUMNS}
        """,
        (kid, public_key, sealed_private_key, signs_in),
    )
    return (await cursor.fetchall())[0]


async def expire_signing_keys(connection: Connection, *, before: str, seconds: float) -> None:
    """Gives each key that has no end yet one: `seconds` after the key `before` begins to sign in its place."""
    await connection.execute(
        """
        UPDATE signing_keys old SET expire_time = new.sign_from_time + make_interval(secs => %s)
        FROM signing_keys new
        WHERE new.kid = %s AND old.kid <> new.kid AND old.expire_time IS NULL
        """,
        (seconds, before),
    )


async def sign_earlier(connection: Connection, kid: str, signs_in: float) -> None:
    """Lets a key that waits begin to sign in so many seconds."""
    await connection.execute(
        "UPDATE signing_keys SET sign_from_time = clock_timestamp() + make_interval(secs => greatest(0, %s))"
        " WHERE kid = %s",
        (signs_in, kid),
    )


async def delete_signing_keys(connection: Connection, kids: list[str]) -> None:
    """Forgets keys, private parts and all."""
    await connection.execute("DELETE FROM signing_keys WHERE kid = ANY(%s)", (kids,))


async def delete_expired_signing_keys(connection: Connection) -> list[str]:
    """Forgets the keys that are published no more, and returns their ids."""
    cursor = await connection.execute("DELETE FROM signing_keys WHERE expire_time <= clock_timestamp() RETURNING kid")
    return [row[0] for row in await cursor.fetchall()]


async def tell(connection: Connection) -> None:
    """Lets every process look at the keys, once this is committed."""
    await connection.execute(f"NOTIFY {CHANNEL}")


async def append_event(connection: Connection, event: dict[str, Any]) -> None:
    """Writes a line of the log, in the transaction of what it tells."""
    await connection.execute(INSERT_EVENT, event)
