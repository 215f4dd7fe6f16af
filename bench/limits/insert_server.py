"""The limit of writes: one INSERT, committed."""

from __future__ import annotations

from bench.limits.serving import Connection, main
from bench.limits.table import INSERT
from shared.ids import new_id


async def insert(connection: Connection, body: str) -> str:
    """Writes a row, and returns its id."""
    id_ = new_id()
    await connection.execute(INSERT, (id_, body))
    return str(id_)


if __name__ == "__main__":
    main(insert)
