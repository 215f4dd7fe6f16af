"""Unknown key ids, which anybody can invent."""

from __future__ import annotations

import asyncio
from typing import Any

from api_service.keys.ring import KeyRing
from shared.crypto import Secrets


class CountingRing(KeyRing):
    """Counts the looks at a database that is not there."""

    def __init__(self) -> None:
        nowhere: Any = None
        super().__init__(nowhere, Secrets("x" * 32))
        self.looks = 0

    async def load(self) -> None:
        self.looks += 1
        await asyncio.sleep(0)


async def test_a_flood_of_unknown_key_ids_is_one_look() -> None:
    ring = CountingRing()
    found = await asyncio.gather(*(ring.find(f"kid-{number}") for number in range(1000)))
    assert set(found) == {None}
    assert ring.looks == 1
    assert await ring.find("another") is None
    assert ring.looks == 1


async def test_a_caller_who_hangs_up_does_not_stop_the_look_of_the_others() -> None:
    ring = CountingRing()
    first, second = (asyncio.ensure_future(ring.find("kid")) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert await second is None
