"""The SQL of files: that of `shared.files`, as the API runs it."""

from __future__ import annotations

import uuid

from api_service.database import Connection
from shared import files

#: Chunks that are read at once.
_BATCH = 2


async def create(connection: Connection, id_: uuid.UUID, content_type: str) -> None:
    """Begins an upload."""
    file = files.new_file(id_, job_id=None, role="INPUT", name="upload", content_type=content_type)
    await connection.execute(files.INSERT_FILE, file)


async def append(connection: Connection, id_: uuid.UUID, start: int, data: bytes) -> None:
    """Writes a chunk."""
    await connection.execute(files.INSERT_CHUNK, {"file_id": id_, "start": start, "data": data})


async def adopt(connection: Connection, id_: uuid.UUID, job_id: uuid.UUID, size: int, sha256: bytes) -> None:
    """Makes an upload complete, and the input of a job."""
    await connection.execute(files.COMPLETE, {"file_id": id_, "size": size, "sha256": sha256})
    await connection.execute(files.ADOPT, {"file_id": id_, "job_id": job_id})


async def delete(connection: Connection, id_: uuid.UUID) -> None:
    """Deletes a file."""
    await connection.execute(files.DELETE_FILE, {"file_id": id_})


async def locate(connection: Connection, id_: uuid.UUID, offset: int) -> int:
    """Returns where the chunk begins that holds the byte at `offset`."""
    cursor = await connection.execute(files.LOCATE, {"file_id": id_, "offset": offset})
    row = await cursor.fetchone()
    return row[0] if row else 0


async def chunks(connection: Connection, id_: uuid.UUID, start: int) -> list[tuple[int, bytes]]:
    """Returns a few chunks, from one on: where each begins, and its bytes."""
    parameters = {"file_id": id_, "start": start, "limit": _BATCH}
    cursor = await connection.execute(files.READ_CHUNKS, parameters, binary=True)
    return [(start, bytes(data)) for start, data in await cursor.fetchall()]
