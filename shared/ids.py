"""Identifiers: UUIDv7 (RFC 9562), so that newer ids sort after older ones."""

from __future__ import annotations

import uuid

import uuid_utils


def new_id() -> uuid.UUID:
    """Returns a fresh UUIDv7; ids made by one process rise in the order they were made."""
    return uuid.UUID(int=uuid_utils.uuid7().int)


def resource_name(collection: str, id_: uuid.UUID | str) -> str:
    """Returns `tasks/{id}` and its like."""
    return f"{collection}/{id_}"


def parse_name(collection: str, name: str) -> uuid.UUID:
    """Returns the id in `tasks/{id}`. The name's pattern was checked before."""
    return uuid.UUID(name.removeprefix(f"{collection}/"))
