"""Accounts between rows and messages."""

from __future__ import annotations

from taskhub.v1 import user_pb2

from api_service.users.user import User
from api_service.wire import set_time


def to_message(user: User) -> user_pb2.User:
    """Returns the account as the contract shows it."""
    message = user_pb2.User(
        name=user.name, email=user.email or "", role=user.role, state=user.state.value, etag=user.etag
    )
    if user.display_name:
        message.display_name = user.display_name
    set_time(message.create_time, user.create_time)
    set_time(message.update_time, user.update_time)
    set_time(message.disable_time, user.disable_time)
    set_time(message.delete_time, user.delete_time)
    set_time(message.purge_time, user.purge_time)
    return message
