"""`python -m api_service keys …`: for whoever holds the database and the secret key."""

from __future__ import annotations

import asyncio
import sys
from argparse import Namespace
from datetime import datetime

import psycopg

from api_service.database import Connection
from api_service.keys import queries, rotation
from api_service.keys.ring import SecretKeyMismatchError
from api_service.settings import ApiSettings
from shared.crypto import Secrets


def run(settings: ApiSettings, arguments: Namespace) -> None:
    """Does it and prints the keys; ends the process with one line where it cannot be done."""
    try:
        asyncio.run(_run(settings, arguments))
    except psycopg.OperationalError as error:
        sys.exit(f"taskhub: TASKHUB_DATABASE_URL cannot be reached ({type(error).__name__})")
    except (SecretKeyMismatchError, rotation.KeyUnknownError) as error:
        sys.exit(f"taskhub: {type(error).__doc__}")


async def _run(settings: ApiSettings, arguments: Namespace) -> None:
    secrets = Secrets(settings.secret_key.get_secret_value())
    async with await psycopg.AsyncConnection.connect(settings.dsn, connect_timeout=5) as connection:
        match arguments.action:
            case "rotate":
                await rotation.rotate(connection, secrets, settings.access_token_seconds)
            case "revoke" if arguments.all:
                await rotation.revoke_all(connection, secrets)
            case "revoke":
                await rotation.revoke(connection, secrets, arguments.kid)
            case "prune":
                await queries.delete_expired_signing_keys(connection)
        await _show(connection)


async def _show(connection: Connection) -> None:
    rows = await queries.signing_keys(connection)
    signing = [row.kid for row in rows if row.signs_in <= 0][-1:]
    line = "{:36}  {:8}  {:20}  {:20}  {}".format
    print(line("KEY", "STATE", "MADE", "SIGNS FROM", "PUBLISHED UNTIL"))
    for row in rows:
        state = "signs" if row.kid in signing else "next" if row.signs_in > 0 else "retired"
        print(line(row.kid, state, _time(row.create_time), _time(row.sign_from_time), _time(row.expire_time)))


def _time(time: datetime | None) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%SZ}" if time else "-"
