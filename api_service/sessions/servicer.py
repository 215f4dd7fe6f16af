"""The part of AuthService that looks at sessions and ends them."""

from __future__ import annotations

import uuid

from google.protobuf.message import Message
from taskhub.v1 import auth_service_pb2

from api_service.auth.revocations import Revocations
from api_service.call import Call
from api_service.database import Connection, Database
from api_service.idempotency import Idempotency
from api_service.paging import Pager, page_size
from api_service.principal import Principal
from api_service.sessions import queries, service
from api_service.wire import set_time
from shared.crypto import Secrets
from shared.ids import resource_name


class SessionServicer:
    """Opens the transactions; what was ended is known in this process at once, in the others within seconds."""

    def __init__(
        self, database: Database, idempotency: Idempotency, secrets: Secrets, revocations: Revocations
    ) -> None:
        self._database = database
        self._idempotency = idempotency
        self._secrets = secrets
        self._revocations = revocations

    async def ListSessions(self, request: auth_service_pb2.ListSessionsRequest, call: Call) -> Message:
        """One round trip."""
        pager = Pager(self._secrets, call, request)
        cursor = pager.cursor(16)
        size = page_size(request.page_size)
        async with self._database.connection() as connection:
            rows = await service.page(
                connection, call.user, before=uuid.UUID(bytes=cursor) if cursor else None, limit=size + 1
            )
        shown = rows[:size]
        return auth_service_pb2.ListSessionsResponse(
            sessions=[_to_message(row, call.user) for row in shown],
            next_page_token=pager.token(shown[-1].id.bytes) if len(rows) > size else "",
        )

    async def RevokeSession(self, request: auth_service_pb2.RevokeSessionRequest, call: Call) -> Message | bytes:
        """Ends one."""
        session_id = service.session_id(request.name)

        async def work(connection: Connection) -> Message:
            await service.revoke(connection, call.user, session_id, call.origin)
            return auth_service_pb2.RevokeSessionResponse()

        response = await self._idempotency.run(call, request, work)
        self._revocations.add(session_id)
        return response

    async def RevokeAllSessions(
        self, request: auth_service_pb2.RevokeAllSessionsRequest, call: Call
    ) -> Message | bytes:
        """Ends all, or all others."""
        ended: list[uuid.UUID] = []

        async def work(connection: Connection) -> Message:
            ended.extend(
                await service.revoke_all(connection, call.user, call.origin, keep_current=request.keep_current)
            )
            return auth_service_pb2.RevokeAllSessionsResponse(revoked_count=len(ended))

        response = await self._idempotency.run(call, request, work)
        self._revocations.add(*ended)
        return response

    async def Logout(self, request: auth_service_pb2.LogoutRequest, call: Call) -> Message | bytes:
        """Ends the caller's own."""
        session_id = call.user.session_id

        async def work(connection: Connection) -> Message:
            await service.revoke(connection, call.user, session_id, call.origin, service.SIGNED_OUT)
            return auth_service_pb2.LogoutResponse()

        response = await self._idempotency.run(call, request, work)
        self._revocations.add(session_id)
        return response


def _to_message(row: queries.SessionRow, caller: Principal) -> auth_service_pb2.Session:
    session = auth_service_pb2.Session(
        name=resource_name(service.COLLECTION, row.id),
        user=caller.name,
        current=row.id == caller.session_id,
        address=row.address,
        user_agent=row.user_agent,
    )
    set_time(session.create_time, row.create_time)
    set_time(session.last_use_time, row.use_time)
    set_time(session.expire_time, row.expire_time)
    return session
