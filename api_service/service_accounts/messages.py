"""Service accounts and keys between rows and messages."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from taskhub.v1 import service_account_pb2

from api_service.principal import ADMIN_SCOPES
from api_service.service_accounts.account import ServiceAccount
from api_service.service_accounts.key import Key
from api_service.wire import set_time
from shared.errors import InvalidArgument


def to_message(account: ServiceAccount) -> service_account_pb2.ServiceAccount:
    """Returns the account as the contract shows it."""
    message = service_account_pb2.ServiceAccount(
        name=account.name,
        display_name=account.display_name,
        scopes=account.scopes,
        disabled=account.disabled,
        etag=account.etag,
    )
    if account.description:
        message.description = account.description
    set_time(message.create_time, account.create_time)
    set_time(message.update_time, account.update_time)
    set_time(message.delete_time, account.delete_time)
    set_time(message.purge_time, account.purge_time)
    return message


def to_key(key: Key) -> service_account_pb2.ServiceAccountKey:
    """Returns the key as the contract shows it, without its secret."""
    message = service_account_pb2.ServiceAccountKey(name=key.name, display_name=key.display_name)
    set_time(message.create_time, key.create_time)
    set_time(message.expire_time, key.expire_time)
    set_time(message.last_use_time, key.last_use_time)
    set_time(message.revoke_time, key.revoke_time)
    return message


#: How each field that a caller may change is read. A field that is absent is read as cleared.
READERS: dict[str, Callable[[service_account_pb2.ServiceAccount], Any]] = {
    "display_name": lambda account: _display_name(account.display_name),
    "description": lambda account: account.description,
    "scopes": lambda account: _scopes(account.scopes),
    "disabled": lambda account: account.disabled,
}


def read(account: service_account_pb2.ServiceAccount, paths: Iterable[str] = tuple(READERS)) -> dict[str, Any]:
    """Returns the values of the fields that `paths` name. Raises InvalidArgument for one that cannot be."""
    return {path: READERS[path](account) for path in paths}


def _display_name(value: str) -> str:
    if not value.strip():
        raise InvalidArgument("service_account.display_name", "value is required")
    return value.strip()


def _scopes(values: Iterable[str]) -> list[str]:
    scopes = sorted(set(values))
    for scope in scopes:
        if scope not in ADMIN_SCOPES:
            raise InvalidArgument("service_account.scopes", f"`{scope}` is not a scope")
    return scopes
