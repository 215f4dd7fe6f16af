"""What this process has revoked itself, while the list is being read."""

from __future__ import annotations

import math
import uuid
from typing import Any

import pytest

from api_service.auth import queries
from api_service.auth.revocations import Revocations


class _Database:
    def connection(self) -> _Database:
        return self

    async def __aenter__(self) -> None:
        """Nothing is asked."""

    async def __aexit__(self, *_: object) -> None:
        """Nothing is held."""


async def test_a_list_on_its_way_forgets_nothing_that_was_revoked_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere: Any = _Database()
    revocations = Revocations(nowhere, 900)
    before, meanwhile = uuid.uuid4(), uuid.uuid4()

    async def read(*_: object) -> dict[uuid.UUID, float]:
        revocations.add(meanwhile)
        return {before: math.inf}

    monkeypatch.setattr(queries, "revoked_sessions", read)
    await revocations.load()
    assert revocations.over(before)
    assert revocations.over(meanwhile)

    async def read_later(*_: object) -> dict[uuid.UUID, float]:
        return {before: math.inf}

    monkeypatch.setattr(queries, "revoked_sessions", read_later)
    await revocations.load()
    assert not revocations.over(meanwhile)
