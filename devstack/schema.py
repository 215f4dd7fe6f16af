"""Whether the schema is up to date, known without a run of the migrations, which costs every start most of a second."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import psycopg

if TYPE_CHECKING:
    from pathlib import Path


class Applied:
    """Remembers which migration files brought the database to which revision."""

    def __init__(self, note: Path, versions: Path) -> None:
        self._note = note
        self._versions = versions

    async def is_current(self, url: str) -> bool:
        """Whether these very files ran last, and the database is still where they left it."""
        return self._note.exists() and self._note.read_text() == await self._state(url)

    async def remember(self, url: str) -> None:
        """Notes that the files have run."""
        self._note.write_text(await self._state(url))

    async def _state(self, url: str) -> str:
        files = hashlib.sha256()
        for path in sorted(self._versions.glob("*.py")):
            files.update(path.name.encode() + b"\0" + path.read_bytes())
        return f"{files.hexdigest()} {await _revision(url)}\n"


async def _revision(url: str) -> str:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        try:
            found = await connection.execute("SELECT string_agg(version_num, ',') FROM alembic_version")
        except psycopg.errors.UndefinedTable:
            return "none"
        row = await found.fetchone()
        return str(row[0]) if row else "none"
