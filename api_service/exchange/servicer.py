"""AuthService.ExchangeServiceKey on the wire."""

from __future__ import annotations

from taskhub.v1 import auth_service_pb2

from api_service.call import Call
from api_service.database import Database
from api_service.exchange.service import Exchange
from api_service.wire import set_time


class ExchangeServicer:
    """Signs services in; the rules are `Exchange`'s."""

    def __init__(self, exchange: Exchange, database: Database) -> None:
        self._exchange = exchange
        self._database = database

    async def ExchangeServiceKey(
        self, request: auth_service_pb2.ExchangeServiceKeyRequest, call: Call
    ) -> auth_service_pb2.ExchangeServiceKeyResponse:
        """One round trip, as a rule."""
        async with self._database.connection() as connection:
            exchanged = await self._exchange.exchange(connection, request.key, request.scopes, call.origin.context)
        response = auth_service_pb2.ExchangeServiceKeyResponse(
            access_token=exchanged.access_token,
            service_account=exchanged.principal.name,
            scopes=sorted(exchanged.principal.scopes),
        )
        set_time(response.access_expire_time, exchanged.expire_time)
        return response
