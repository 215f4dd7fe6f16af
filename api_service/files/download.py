"""Downloads: a file in pieces, as fast as its reader takes them."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

from api_service.database import Database
from api_service.files import queries
from shared.errors import NotFound


async def pieces(database: Database, file_id: uuid.UUID, size: int, offset: int) -> AsyncIterator[bytes]:
    """Yields the bytes from `offset` on. Raises NotFound if the file goes in the meantime."""
    position = offset
    if offset:
        async with database.connection() as connection:
            position = await queries.locate(connection, file_id, offset)
    while position < size:
        async with database.connection() as connection:
            found = await queries.chunks(connection, file_id, position)
        if not found:
            raise NotFound
        for start, data in found:
            position = start + len(data)
            if position > offset:
                yield data[max(0, offset - start) :]
