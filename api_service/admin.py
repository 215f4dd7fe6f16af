"""Makes administrators: from the command line of somebody who holds the database, never by a default password."""

from __future__ import annotations

import asyncio
import getpass
import sys

import psycopg

from api_service.auth.passwords import Passwords
from api_service.auth.service import normalise
from api_service.settings import ApiSettings
from shared.ids import new_id

_MINIMUM, _MAXIMUM = 8, 128

_UPSERT = """
INSERT INTO users (id, email, password_hash, role) VALUES (%s, %s, %s, 'ADMIN')
ON CONFLICT (email) DO UPDATE SET role = 'ADMIN', password_hash = EXCLUDED.password_hash, update_time = now()
RETURNING id
"""


def create_admin(settings: ApiSettings, email: str) -> None:
    """Makes the account an administrator with the password that is given, and prints its name."""
    password = getpass.getpass("Password: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
    if not _MINIMUM <= len(password) <= _MAXIMUM:
        sys.exit(f"taskhub: the password must have {_MINIMUM} to {_MAXIMUM} characters")
    hashed = asyncio.run(_hash(settings, password))
    with psycopg.connect(settings.dsn) as connection:
        row = connection.execute(_UPSERT, (new_id(), normalise(email), hashed)).fetchone()
    print(f"users/{row[0]}" if row else "")


async def _hash(settings: ApiSettings, password: str) -> str:
    return await Passwords(settings).hash(password)
