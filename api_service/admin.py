"""Makes administrators: from the command line of somebody who holds the database, never by a default password."""

from __future__ import annotations

import asyncio
import getpass
import sys

import protovalidate
import psycopg
from taskhub.v1.auth_service_pb2 import RegisterRequest

from api_service.auth import policy
from api_service.auth.address import normalise
from api_service.auth.passwords import Passwords
from api_service.settings import ApiSettings
from shared.errors import InvalidArgument
from shared.ids import new_id

_UPSERT = """
INSERT INTO users (id, email, password_hash, role) VALUES (%s, %s, %s, 'ADMIN')
ON CONFLICT (email) DO UPDATE SET role = 'ADMIN', password_hash = EXCLUDED.password_hash,
    password_version = users.password_version + 1, version = users.version + 1, update_time = now()
RETURNING id
"""


def create_admin(settings: ApiSettings, email: str) -> None:
    """Makes the account an administrator with the password that is given, and prints its name.

    Ends the process with one line where the address or the password is none that Register would take, or where the
    database cannot be reached.
    """
    password = getpass.getpass("Password: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
    for wrong in protovalidate.collect_violations(RegisterRequest(email=email, password=password)):
        field = wrong.proto.field.elements[0].field_name if wrong.proto.field else "request"
        sys.exit(f"taskhub: the {field} {wrong.proto.message}")
    try:
        email = normalise(email)
        policy.check(password, email)
    except InvalidArgument as error:
        [(field, description)] = error.violations
        sys.exit(f"taskhub: the {field} {description}")
    hashed = asyncio.run(_hash(settings, password))
    try:
        with psycopg.connect(settings.dsn, connect_timeout=5) as connection:
            row = connection.execute(_UPSERT, (new_id(), email, hashed)).fetchone()
    except psycopg.OperationalError as error:
        sys.exit(f"taskhub: TASKHUB_DATABASE_URL cannot be reached ({type(error).__name__})")
    print(f"users/{row[0]}" if row else "")


async def _hash(settings: ApiSettings, password: str) -> str:
    return await Passwords(settings).hash(password)
