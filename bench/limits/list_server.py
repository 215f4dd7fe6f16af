"""The limit of lists: one SELECT of twenty rows, newest first."""

from __future__ import annotations

from bench.limits.serving import Connection, main
from bench.limits.table import PAGE


async def select(connection: Connection, _: str) -> str:
    """Returns the bodies of the newest rows, each with its id."""
    cursor = await connection.execute(PAGE)
    return "\n".join(f"{id_} {body}" for id_, body in await cursor.fetchall())


if __name__ == "__main__":
    main(select)
