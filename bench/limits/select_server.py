"""The limit of reads: one SELECT by key."""

from __future__ import annotations

from bench.limits.serving import Connection, main
from bench.limits.table import SELECT


async def select(connection: Connection, id_: str) -> str:
    """Returns the body of the row with this id."""
    cursor = await connection.execute(SELECT, (id_,))
    row = await cursor.fetchone()
    return str(row[0]) if row else ""


if __name__ == "__main__":
    main(select)
