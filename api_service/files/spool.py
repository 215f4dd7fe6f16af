"""Uploads: kept as they come, before anything is decided about them."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from api_service.database import Database
from api_service.files import queries
from shared.errors import UploadTooLarge
from shared.files import CHUNK
from shared.ids import new_id


class Upload:
    """Bytes on their way into a file that no job has yet. With `dry` they are counted and dropped."""

    def __init__(self, database: Database, limit: int, *, dry: bool) -> None:
        self.id: uuid.UUID = new_id()
        self.size = 0
        #: Set by whoever has committed that a job has it now.
        self.adopted = False
        self._database = database
        self._limit = limit
        self._dry = dry
        self._digest = hashlib.sha256()
        self._buffer = bytearray()
        self._written = 0

    @property
    def sha256(self) -> bytes:
        """The digest of all that came."""
        return self._digest.digest()

    async def write(self, data: bytes) -> None:
        """Appends. Raises UploadTooLarge."""
        self.size += len(data)
        if self.size > self._limit:
            raise UploadTooLarge(self._limit)
        self._digest.update(data)
        self._buffer += data
        while len(self._buffer) >= CHUNK:
            await self._flush(CHUNK)

    async def close(self) -> None:
        """Writes what is left."""
        if self._buffer:
            await self._flush(len(self._buffer))

    async def discard(self) -> None:
        """Deletes what was written."""
        if self._written and not self._dry:
            async with self._database.connection() as connection:
                await queries.delete(connection, self.id)

    async def _flush(self, length: int) -> None:
        chunk = bytes(self._buffer[:length])
        del self._buffer[:length]
        if not self._dry:
            async with self._database.connection() as connection:
                if not self._written:
                    await queries.create(connection, self.id, "application/octet-stream")
                await queries.append(connection, self.id, self._written, chunk)
        self._written += length


@asynccontextmanager
async def spooled(database: Database, limit: int, *, dry: bool) -> AsyncIterator[Upload]:
    """Yields an upload; what is not adopted by the end is deleted, at the latest by housekeeping."""
    upload = Upload(database, limit, dry=dry)
    try:
        yield upload
    finally:
        if not upload.adopted:
            await upload.discard()
