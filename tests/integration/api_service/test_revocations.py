"""What ends tokens: known at once to the process that ended them, and to the others by a NOTIFY."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr
from taskhub.v1 import (
    auth_service_pb2,
    service_account_pb2,
    service_account_service_pb2,
    task_service_pb2,
    user_pb2,
    user_service_pb2,
)

from api_service.auth.listener import Listener
from api_service.auth.revocations import Revocations
from api_service.database import Database
from api_service.settings import ApiSettings
from shared.revocations import CHANNEL
from tests.support.api import Account, Api, refused
from tests.support.servers import PATIENCE

robots = service_account_service_pb2
LIST = task_service_pb2.ListTasksRequest()


@pytest.fixture
def heard(api: Api) -> Iterator[Callable[[], bool]]:
    """Says whether processes were told of something since the test began."""
    with psycopg.connect(api.database_url, autocommit=True) as connection:
        connection.execute(f"LISTEN {CHANNEL}")
        yield lambda: any(True for _ in connection.notifies(timeout=PATIENCE, stop_after=1))


def test_a_user_is_out_in_this_process_before_the_administrator_is_answered(
    api: Api, admin: Account, heard: Callable[[], bool]
) -> None:
    for rpc in ("DisableUser", "DeleteUser"):
        alice = api.account()
        request = getattr(user_service_pb2, f"{rpc}Request")(name=alice.name)
        getattr(api.users, rpc)(request, metadata=admin.metadata)  # on the same connection, so by the same process
        assert refused(api.tasks.ListTasks, LIST, metadata=alice.metadata).reason == "TOKEN_INVALID"
        assert heard()


def test_whoever_is_an_administrator_no_more_is_out_at_once(api: Api, admin: Account) -> None:
    other = api.account("ADMIN")
    request = user_service_pb2.SetUserRoleRequest(name=other.name, role=user_pb2.User.MEMBER)
    api.users.SetUserRole(request, metadata=admin.metadata)
    assert refused(api.tasks.ListTasks, LIST, metadata=other.metadata).reason == "TOKEN_INVALID"


@pytest.mark.parametrize("how", ["key", "disabled", "deleted"])
def test_a_service_is_out_in_this_process_before_the_administrator_is_answered(
    api: Api, admin: Account, heard: Callable[[], bool], how: str
) -> None:
    robot = api.service_account("tasks.read")
    accounts = api.service_accounts
    if how == "key":
        [key] = accounts.ListKeys(robots.ListKeysRequest(parent=robot.name), metadata=admin.metadata).keys
        accounts.RevokeKey(robots.RevokeKeyRequest(name=key.name), metadata=admin.metadata)
    elif how == "disabled":
        account = service_account_pb2.ServiceAccount(name=robot.name, disabled=True)
        request = robots.UpdateServiceAccountRequest(service_account=account)
        accounts.UpdateServiceAccount(request, metadata=admin.metadata)
    else:
        accounts.DeleteServiceAccount(robots.DeleteServiceAccountRequest(name=robot.name), metadata=admin.metadata)
    assert refused(api.tasks.ListTasks, LIST, metadata=robot.metadata).reason == "TOKEN_INVALID"
    assert heard()


def test_the_tokens_of_a_family_that_was_stolen_are_over_at_once(
    api: Api, alice: Account, heard: Callable[[], bool]
) -> None:
    refresh = auth_service_pb2.RefreshTokenRequest(refresh_token=alice.refresh_token)
    api.auth.RefreshToken(refresh)
    api.execute(
        "UPDATE refresh_tokens SET use_time = now() - interval '1 h' FROM sessions session"
        " WHERE session.id = session_id AND user_id = %s AND refresh_tokens.use_time IS NOT NULL",
        (alice.id,),
    )
    assert refused(api.auth.RefreshToken, refresh).reason == "REFRESH_TOKEN_INVALID"
    assert refused(api.tasks.ListTasks, LIST, metadata=alice.metadata).reason == "TOKEN_INVALID"
    assert heard()


def test_a_sign_out_is_told(api: Api, alice: Account, heard: Callable[[], bool]) -> None:
    api.auth.Logout(auth_service_pb2.LogoutRequest(), metadata=alice.metadata)
    assert heard()


def test_a_revoked_signing_key_is_told(api: Api, heard: Callable[[], bool]) -> None:
    """By the same channel, on which a process looks at keys as well."""
    from api_service.keys import queries  # noqa: PLC0415  beside what it is about

    async def tell() -> None:
        async with await psycopg.AsyncConnection.connect(api.database_url) as connection:
            await queries.tell(connection)

    asyncio.run(tell())
    assert heard()


async def test_another_process_hears_without_looking(api: Api, alice: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("TASKHUB_")]:
        monkeypatch.delenv(name)
    arguments: Any = {
        "database_url": api.database_url, "broker_url": SecretStr("redis://nowhere"), "secret_key": SecretStr("x" * 32),
    }  # fmt: skip
    settings = ApiSettings(**arguments)
    database = Database(settings)
    database.open()
    revocations = Revocations(database, 900)  # whose own look, `run`, is not running
    looks = asyncio.Semaphore(0)

    async def look() -> None:
        await revocations.load()
        looks.release()

    listening = asyncio.create_task(Listener(settings, look).run())
    [(session,)] = api.execute("SELECT id FROM sessions WHERE user_id = %s", (alice.id,))
    try:
        await looks.acquire()  # it listens
        assert not revocations.over(session)
        await asyncio.to_thread(api.auth.Logout, auth_service_pb2.LogoutRequest(), metadata=alice.metadata)
        async with asyncio.timeout(5):
            while not revocations.over(session):  # noqa: ASYNC110  it sets no event of ours
                await asyncio.sleep(0.01)
    finally:
        listening.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await listening
        await database.close()
