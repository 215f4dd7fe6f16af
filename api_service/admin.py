"""Makes administrators: from the command line of somebody who holds the database, never by a default password."""

from __future__ import annotations

import asyncio
import getpass
import sys
import uuid
from typing import Any

import protovalidate
import psycopg
from taskhub.v1.auth_service_pb2 import RegisterRequest

from api_service.auth import policy
from api_service.auth import queries as accounts
from api_service.auth.address import normalise
from api_service.auth.passwords import Passwords
from api_service.credentials import queries as credentials
from api_service.database import Connection
from api_service.origin import Origin
from api_service.sessions import queries as sessions
from api_service.sessions.queries import Ending
from api_service.sessions.service import PASSWORD_CHANGED
from api_service.settings import ApiSettings
from shared import events
from shared.errors import InvalidArgument
from shared.ids import new_id, resource_name
from shared.states import PrincipalKind, Role

_UPSERT = """
INSERT INTO users (id, email, password_hash, role) VALUES (%s, %s, %s, 'ADMIN')
ON CONFLICT (email) DO UPDATE SET role = 'ADMIN', password_hash = EXCLUDED.password_hash,
    password_version = users.password_version + 1, version = users.version + 1, update_time = now()
RETURNING id, version = 1 AS is_new
"""

#: Where the command is called from, as the audit keeps it.
_HERE = Origin("local", "api_service admin create")


def create_admin(settings: ApiSettings, email: str) -> None:
    """Makes the account an administrator with the password that is given, and prints its name.

    Whoever was signed in with the password before, or holds a link to choose one, is not to become an administrator
    with it: sessions and links end.

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
    try:
        print(asyncio.run(_create(settings, email, password)))
    except psycopg.OperationalError as error:
        sys.exit(f"taskhub: TASKHUB_DATABASE_URL cannot be reached ({type(error).__name__})")


async def _create(settings: ApiSettings, email: str, password: str) -> str:
    hashed = await Passwords(settings).hash(password)
    async with await psycopg.AsyncConnection.connect(settings.dsn, connect_timeout=5) as connection:
        await credentials.drop_registrations(connection, email)  # before the account, as VerifyEmail does: no deadlock
        cursor = await connection.execute(_UPSERT, (new_id(), email, hashed))
        [(id_, is_new)] = await cursor.fetchall()
        name = resource_name(PrincipalKind.USER, id_)
        if is_new:
            await _tell(connection, events.USER_CREATED, id_, {"role": [None, Role.ADMIN]})
        else:
            await _tell(connection, events.USER_ROLE_CHANGED, id_, {"role": [None, Role.ADMIN]})
            await _tell(connection, events.USER_PASSWORD_CHANGED, id_, {})
            await credentials.drop_links(connection, id_)
            await sessions.revoke_all(connection, id_, Ending(PASSWORD_CHANGED, events.OPERATOR, _HERE))
    return name


async def _tell(connection: Connection, kind: str, user_id: uuid.UUID, changes: dict[str, Any]) -> None:
    name = resource_name(PrincipalKind.USER, user_id)
    event = events.new_event(kind, name, events.OPERATOR, owner_id=user_id, changes=changes, context=_HERE.context)
    await accounts.append_event(connection, event)
