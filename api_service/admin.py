"""Makes administrators: from the command line of somebody who holds the database, never by a default password."""

from __future__ import annotations

import asyncio
import getpass
import os
import sys
import uuid
from dataclasses import dataclass
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
from api_service.interceptors.words import in_words
from api_service.lockouts import service as lockouts
from api_service.lockouts.service import Lockouts
from api_service.origin import Origin
from api_service.sessions import queries as sessions
from api_service.sessions.queries import Ending
from api_service.sessions.service import PASSWORD_CHANGED
from api_service.settings import ApiSettings
from shared import events
from shared.crypto import Secrets
from shared.errors import InvalidArgument
from shared.ids import new_id, resource_name
from shared.revocations import CHANNEL
from shared.states import PrincipalKind, Role

_ACCOUNT = "SELECT id, password_hash, role, disable_time IS NOT NULL FROM users WHERE email = %s FOR NO KEY UPDATE"

_INSERT = """
INSERT INTO users (id, email, password_hash, role) VALUES (%s, %s, %s, 'ADMIN') ON CONFLICT (email) DO NOTHING
"""

_UPDATE = """
UPDATE users SET role = 'ADMIN', password_hash = %(hash)s, disable_time = NULL, version = version + 1,
    password_version = password_version + 1, update_time = now()
WHERE id = %(id)s
"""

#: Where the command is called from, as the audit keeps it.
_HERE = Origin("local", "api_service admin create")

_STDIN = 0

#: More than any password has.
_MAX_BYTES = 4096


@dataclass(frozen=True, slots=True)
class _Account:
    """What is there already."""

    id: uuid.UUID
    password_hash: str
    role: str
    disabled: bool


def create_admin(settings: ApiSettings, email: str, password_fd: int | None = None) -> None:
    """Makes the account an administrator that can sign in with the password that is given, and prints its name.

    The password comes from a terminal, else from standard input, or from another file descriptor: never from the
    arguments or the environment, which other processes can read. Whoever was signed in with the password before, or
    holds a link to choose one, is not to become an administrator with it: sessions and links end. Where all is as it is
    asked for, nothing changes: the same call again ends nobody's session.

    Ends the process with one line and exit code 1 where the address or the password is none that Register would take,
    or where the database cannot be used.
    """
    password = _password(password_fd)
    for wrong in protovalidate.collect_violations(RegisterRequest(email=email, password=password)):
        field = wrong.proto.field.elements[0].field_name if wrong.proto.field else "request"
        sys.exit(f"taskhub: the {field} {in_words(str(wrong.rule_value)) or wrong.proto.message}")
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
    except psycopg.ProgrammingError as error:  # no such table, or no right to it
        sys.exit(f"taskhub: the database is not ready ({type(error).__name__}): python -m migrations upgrade")


def _password(fd: int | None) -> str:
    """Returns the first line of a file descriptor, or what is typed twice at a terminal."""
    try:
        if fd is None and os.isatty(_STDIN):
            password = getpass.getpass("Password: ")
            if getpass.getpass("The same again: ") != password:
                sys.exit("taskhub: the two passwords are not the same")
            return password
        with os.fdopen(_STDIN if fd is None else fd, "rb", closefd=False) as file:
            return file.readline(_MAX_BYTES).rstrip(b"\r\n").decode()
    except OSError as error:
        sys.exit(f"taskhub: the password cannot be read ({type(error).__name__})")
    except UnicodeDecodeError:
        sys.exit("taskhub: the password is not UTF-8")


async def _create(settings: ApiSettings, email: str, password: str) -> str:
    passwords = Passwords(settings)
    hashed = await passwords.hash(password)
    async with await psycopg.AsyncConnection.connect(settings.dsn, connect_timeout=5) as connection:
        await credentials.drop_registrations(connection, email)  # before the account, as VerifyEmail does: no deadlock
        id_ = new_id()
        made = await connection.execute(_INSERT, (id_, email, hashed))
        if made.rowcount:
            await _tell(connection, events.USER_CREATED, id_, {"role": [None, Role.ADMIN]})
        else:
            cursor = await connection.execute(_ACCOUNT, (email,))
            [row] = await cursor.fetchall()
            account = _Account(*row)
            id_ = account.id
            same = await passwords.verify(account.password_hash, password)
            if not same or account.disabled or account.role != Role.ADMIN:
                await _promote(connection, account, hashed)
        name = resource_name(PrincipalKind.USER, id_)
        limits = Lockouts(settings, Secrets(settings.secret_key.get_secret_value()))
        await lockouts.forget(connection, limits.account(email), limits.owner(name))
    return name


async def _promote(connection: Connection, account: _Account, password_hash: str) -> None:
    await connection.execute(_UPDATE, {"id": account.id, "hash": password_hash})
    if account.disabled:
        await _tell(connection, events.USER_ENABLED, account.id, {})
    if account.role != Role.ADMIN:
        await _tell(connection, events.USER_ROLE_CHANGED, account.id, {"role": [account.role, Role.ADMIN]})
    await _tell(connection, events.USER_PASSWORD_CHANGED, account.id, {})
    await credentials.drop_links(connection, account.id)
    await sessions.keep_device(connection, account.id, None)
    await sessions.revoke_all(connection, account.id, Ending(PASSWORD_CHANGED, events.OPERATOR, _HERE))
    await connection.execute(f"NOTIFY {CHANNEL}")


async def _tell(connection: Connection, kind: str, user_id: uuid.UUID, changes: dict[str, Any]) -> None:
    name = resource_name(PrincipalKind.USER, user_id)
    event = events.new_event(kind, name, events.OPERATOR, owner_id=user_id, changes=changes, context=_HERE.context)
    await accounts.append_event(connection, event)
