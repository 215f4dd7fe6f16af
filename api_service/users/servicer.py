"""UserService on the wire."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from google.protobuf.message import Message
from taskhub.v1 import user_pb2, user_service_pb2, user_service_pb2_grpc

from api_service.auth.address import normalise
from api_service.auth.revocations import Revocations
from api_service.call import Call
from api_service.database import Connection, Database
from api_service.idempotency import Idempotency
from api_service.masks import changed_paths
from api_service.paging import Pager, page_size
from api_service.users import service
from api_service.users.messages import to_message
from api_service.users.user import User
from shared.crypto import Secrets
from shared.errors import InvalidArgument
from shared.states import Role, UserState


class UserServicer(user_service_pb2_grpc.UserServiceServicer):
    """Opens the transactions; the rules are in `service`."""

    def __init__(
        self, database: Database, idempotency: Idempotency, secrets: Secrets, revocations: Revocations
    ) -> None:
        self._database = database
        self._idempotency = idempotency
        self._secrets = secrets
        self._revocations = revocations

    async def GetUser(self, request: user_service_pb2.GetUserRequest, call: Call) -> user_pb2.User:
        """One round trip."""
        async with self._database.connection() as connection:
            return to_message(await service.get_user(connection, call.principal, request.name))

    async def UpdateUser(self, request: user_service_pb2.UpdateUserRequest, call: Call) -> Message | bytes:
        """Reads the mask before anything is locked."""
        user = request.user
        if not user.name:
            raise InvalidArgument("user.name", "value is required")
        changed_paths(request.update_mask, user, {"display_name"})

        async def change(connection: Connection) -> User:
            return await service.update(connection, call.actor, user.name, user.etag, user.display_name.strip())

        return await self._change(request, call, change)

    async def DeleteUser(self, request: user_service_pb2.DeleteUserRequest, call: Call) -> Message | bytes:
        """See the contract."""

        async def change(connection: Connection) -> User:
            return await service.delete(connection, call.actor, request.name, request.etag)

        return await self._end(request, call, change)

    async def ListUsers(
        self, request: user_service_pb2.ListUsersRequest, call: Call
    ) -> user_service_pb2.ListUsersResponse:
        """One round trip."""
        pager = Pager(self._secrets, call, request)
        cursor = pager.cursor(16)
        size = page_size(request.page_size)
        async with self._database.connection() as connection:
            users = await service.page(
                connection,
                email=normalise(request.email) if request.email else "",
                state=UserState(user_pb2.User.State.Name(request.state)) if request.state else None,
                show_deleted=request.show_deleted,
                before=uuid.UUID(bytes=cursor) if cursor else None,
                limit=size + 1,
            )
        token = pager.token(users[size - 1].id.bytes) if len(users) > size else ""
        return user_service_pb2.ListUsersResponse(
            users=[to_message(user) for user in users[:size]], next_page_token=token
        )

    async def DisableUser(self, request: user_service_pb2.DisableUserRequest, call: Call) -> Message | bytes:
        """See the contract."""

        async def change(connection: Connection) -> User:
            return await service.disable(connection, call.actor, request.name, request.etag)

        return await self._end(request, call, change)

    async def EnableUser(self, request: user_service_pb2.EnableUserRequest, call: Call) -> Message | bytes:
        """See the contract."""

        async def change(connection: Connection) -> User:
            return await service.enable(connection, call.actor, request.name, request.etag)

        return await self._change(request, call, change)

    async def SetUserRole(self, request: user_service_pb2.SetUserRoleRequest, call: Call) -> Message | bytes:
        """See the contract."""
        role = Role(user_pb2.User.Role.Name(request.role))

        async def change(connection: Connection) -> User:
            return await service.set_role(connection, call.actor, request.name, request.etag, role)

        return await self._end(request, call, change)

    async def _change(
        self, request: Any, call: Call, change: Callable[[Connection], Awaitable[User]]
    ) -> Message | bytes:
        async def work(connection: Connection) -> Message:
            return to_message(await change(connection))

        return await self._idempotency.run(call, request, work, dry_run=request.validate_only)

    async def _end(self, request: Any, call: Call, change: Callable[[Connection], Awaitable[User]]) -> Message | bytes:
        """Runs what may end sessions: in this process they are over before the caller is answered."""
        answer = await self._change(request, call, change)
        await self._revocations.follow()
        return answer
