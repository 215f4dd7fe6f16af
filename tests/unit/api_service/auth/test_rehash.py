"""A password that is right, stored under older parameters, while too many others wait to be hashed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from unittest.mock import AsyncMock, MagicMock

from taskhub.v1 import auth_service_pb2

from api_service.auth.servicer import AuthServicer
from api_service.principal import Principal
from api_service.sessions.service import Tokens
from shared.errors import PasswordsBusy
from shared.ids import new_id
from shared.states import PrincipalKind


async def test_a_sign_in_does_not_fail_for_want_of_a_newer_hash() -> None:
    principal = Principal(new_id(), PrincipalKind.USER, new_id(), frozenset())
    now = datetime.now(UTC)
    passwords, sign_in = MagicMock(), MagicMock()
    passwords.verify = AsyncMock(return_value=True)
    passwords.needs_rehash.return_value = True
    passwords.hash = AsyncMock(side_effect=PasswordsBusy)
    sign_in.begin = AsyncMock()
    sign_in.finish = AsyncMock(return_value=Tokens("access", now, "refresh", now, principal))
    any_: Any = MagicMock()
    servicer = AuthServicer(any_, sign_in, any_, any_, any_, passwords, any_, any_, any_)
    answer = await servicer.Login(auth_service_pb2.LoginRequest(email="a@example.com", password="right"), any_)
    assert isinstance(answer, auth_service_pb2.LoginResponse)
    assert answer.user == principal.name
    passwords.hash.assert_awaited_once()
