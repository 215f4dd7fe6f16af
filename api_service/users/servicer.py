"""UserService on the wire."""

from __future__ import annotations

from taskhub.v1 import user_pb2, user_service_pb2, user_service_pb2_grpc

from api_service.call import Call
from api_service.database import Database
from api_service.users import queries, service
from api_service.wire import set_time
from shared.ids import resource_name


class UserServicer(user_service_pb2_grpc.UserServiceServicer):
    """Reads accounts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def GetUser(self, request: user_service_pb2.GetUserRequest, call: Call) -> user_pb2.User:
        """One round trip."""
        async with self._database.connection() as connection:
            return to_message(await service.get_user(connection, call.principal, request.name))


def to_message(row: queries.UserRow) -> user_pb2.User:
    """Returns the account as the contract shows it."""
    message = user_pb2.User(
        name=resource_name("users", row.id),
        email=row.email,
        display_name=row.display_name,
        role=row.role,
    )
    set_time(message.create_time, row.create_time)
    set_time(message.update_time, row.update_time)
    return message
