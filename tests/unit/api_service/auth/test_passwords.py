"""How many passwords are hashed at once, and how many wait."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from api_service.auth.passwords import Passwords
from api_service.settings import ApiSettings
from shared.errors import PasswordsBusy
from tests.support.servers import PATIENCE

SETTINGS = {
    "database_url": "postgresql://nobody@127.0.0.1:1/nowhere",
    "broker_url": "redis://127.0.0.1:1/0",
    "secret_key": "a secret key for tests, long enough",
    "argon2_memory_kib": 8192,
    "argon2_time_cost": 1,
    "password_queue": 2,
}


@pytest.fixture
def passwords() -> Iterator[Passwords]:
    made = Passwords(ApiSettings.model_validate(SETTINGS))
    yield made
    made.close()


@pytest.fixture
def held(passwords: Passwords, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Hashing stops until this is set."""
    event = threading.Event()
    monkeypatch.setattr(passwords, "_check", lambda _stored, _password: event.wait(PATIENCE))
    return event


async def test_beyond_the_queue_calls_are_refused_and_the_others_are_served(
    passwords: Passwords, held: threading.Event
) -> None:
    served = [asyncio.create_task(passwords.verify("x", "password")) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(PasswordsBusy) as refused:
        await passwords.verify("x", "password")
    assert refused.value.retry_after
    held.set()
    assert await asyncio.gather(*served) == [True] * 3
    assert await passwords.verify("x", "password")


async def test_callers_who_leave_make_room_for_others(passwords: Passwords, held: threading.Event) -> None:
    gone = [asyncio.create_task(passwords.verify("x", "password")) for _ in range(3)]
    await asyncio.sleep(0)
    for task in gone:
        task.cancel()
    await asyncio.gather(*gone, return_exceptions=True)
    waiting = [asyncio.create_task(passwords.verify("x", "password")) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(PasswordsBusy):  # the one that runs cannot be stopped, and keeps its place
        await passwords.verify("x", "password")
    held.set()
    assert await asyncio.gather(*waiting) == [True] * 2


async def test_one_password_however_it_was_typed(passwords: Passwords) -> None:
    assert await passwords.verify(await passwords.hash("Stra\u00dfe \u00e9"), "Stra\u00dfe e\u0301")


async def test_an_unknown_account_costs_the_same_work(passwords: Passwords, monkeypatch: pytest.MonkeyPatch) -> None:
    hashes: list[str] = []

    def check(stored: str, _: str) -> bool:
        hashes.append(stored)
        return True

    monkeypatch.setattr(passwords, "_check", check)
    assert await passwords.verify(await passwords.hash("somebody's password"), "wrong password")
    assert not await passwords.verify(None, "wrong password")
    known, unknown = (stored.rsplit("$", 2)[0] for stored in hashes)
    assert known == unknown
