"""The SQL of accounts as resources."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import NamedTuple

from psycopg.rows import class_row

from api_service.database import Connection


class UserRow(NamedTuple):
    """An account as its owner sees it."""

    id: uuid.UUID
    email: str
    display_name: str
    role: str
    create_time: datetime
    update_time: datetime


async def user(connection: Connection, id_: uuid.UUID) -> UserRow | None:
    """Returns an account, or None."""
    cursor = connection.cursor(row_factory=class_row(UserRow))
    await cursor.execute(
        "SELECT id, email, display_name, role, create_time, update_time FROM users WHERE id = %s", (id_,)
    )
    return await cursor.fetchone()
