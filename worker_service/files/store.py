"""The files of jobs, in chunks. Writing shares the transaction, and with it the fence, of the connection's user."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator

from shared import files
from shared.ids import new_id
from worker_service.database import Connection

#: Chunks read in one go.
_BATCH = 4


class Writer:
    """Appends to a file, from position `size` on. What is not a whole chunk waits for more, or for `close`."""

    def __init__(self, connection: Connection, file_id: uuid.UUID, size: int = 0) -> None:
        self._connection = connection
        self._file_id = file_id
        self._buffer = bytearray()
        self._written = size

    @property
    def size(self) -> int:
        """The size of the file, what waits included."""
        return self._written + len(self._buffer)

    def write(self, data: bytes) -> None:
        """Appends."""
        self._buffer += data
        while len(self._buffer) >= files.CHUNK:
            self._flush(files.CHUNK)

    def close(self) -> int:
        """Writes what waits; returns the size."""
        if self._buffer:
            self._flush(len(self._buffer))
        return self._written

    def _flush(self, length: int) -> None:
        chunk = bytes(self._buffer[:length])
        del self._buffer[:length]
        parameters = {"file_id": self._file_id, "start": self._written, "data": chunk}
        self._connection.execute(files.INSERT_CHUNK, parameters)
        self._written += length


def create(connection: Connection, job_id: uuid.UUID, name: str, content_type: str) -> uuid.UUID:
    """Begins the result file of a job; returns its id."""
    id_ = new_id()
    parameters = files.new_file(id_, job_id=job_id, role="RESULT", name=name, content_type=content_type)
    connection.execute(files.INSERT_FILE, parameters)
    return id_


def read(connection: Connection, file_id: uuid.UUID, offset: int = 0) -> Iterator[bytes]:
    """Yields the bytes from `offset` on."""
    located = connection.execute(files.LOCATE, {"file_id": file_id, "offset": offset}).fetchone()
    if located is None:
        return
    position = located["start"] + len(located["data"])
    if offset < position:
        yield located["data"][offset - located["start"] :]
    while rows := connection.execute(
        files.READ_CHUNKS, {"file_id": file_id, "start": position, "limit": _BATCH}
    ).fetchall():
        for row in rows:
            yield row["data"]
            position += len(row["data"])


def complete(connection: Connection, file_id: uuid.UUID) -> int:
    """Shows the file to its readers; returns its size. Size and digest are those of what is stored."""
    digest = hashlib.sha256()
    size = 0
    for data in read(connection, file_id):
        digest.update(data)
        size += len(data)
    connection.execute(files.COMPLETE, {"file_id": file_id, "size": size, "sha256": digest.digest()})
    return size


def delete(connection: Connection, file_id: uuid.UUID) -> None:
    """Deletes a file and its bytes."""
    connection.execute(files.DELETE_FILE, {"file_id": file_id})


def upload(connection: Connection, job_id: uuid.UUID) -> tuple[uuid.UUID, int] | None:
    """Returns the id and the size of what the caller uploaded for a job, if it is still there."""
    row = connection.execute(files.READ_INPUT, {"job_id": job_id}).fetchone()
    return (row["id"], row["size"]) if row else None
