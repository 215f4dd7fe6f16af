"""ServiceAccountService on the wire."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from google.protobuf.message import Message
from taskhub.v1 import service_account_pb2, service_account_service_pb2, service_account_service_pb2_grpc

from api_service.auth.revocations import Revocations
from api_service.call import Call
from api_service.database import Connection, Database
from api_service.idempotency import Idempotency
from api_service.masks import changed_paths
from api_service.paging import Pager, page_size
from api_service.service_accounts import service
from api_service.service_accounts.messages import READERS, read, to_key, to_message
from api_service.wire import get_time
from shared.crypto import Secrets
from shared.errors import InvalidArgument
from shared.ids import parse_name
from shared.states import PrincipalKind

wire = service_account_service_pb2


class ServiceAccountServicer(service_account_service_pb2_grpc.ServiceAccountServiceServicer):
    """Opens the transactions; the rules are in `service`."""

    def __init__(
        self, database: Database, idempotency: Idempotency, secrets: Secrets, revocations: Revocations
    ) -> None:
        self._database = database
        self._idempotency = idempotency
        self._secrets = secrets
        self._revocations = revocations

    async def CreateServiceAccount(self, request: wire.CreateServiceAccountRequest, call: Call) -> Message | bytes:
        """See the contract."""
        fields = read(request.service_account)

        async def work(connection: Connection) -> Message:
            return to_message(await service.create(connection, call.actor, fields))

        return await self._run(request, call, work)

    async def GetServiceAccount(
        self,
        request: wire.GetServiceAccountRequest,
        call: Call,  # noqa: ARG002
    ) -> service_account_pb2.ServiceAccount:
        """One round trip."""
        async with self._database.connection() as connection:
            return to_message(await service.get(connection, _id(request.name)))

    async def ListServiceAccounts(
        self, request: wire.ListServiceAccountsRequest, call: Call
    ) -> wire.ListServiceAccountsResponse:
        """One round trip."""
        pager = Pager(self._secrets, call, request)
        cursor = pager.cursor(16)
        size = page_size(request.page_size)
        async with self._database.connection() as connection:
            accounts = await service.page(
                connection,
                show_deleted=request.show_deleted,
                before=uuid.UUID(bytes=cursor) if cursor else None,
                limit=size + 1,
            )
        token = pager.token(accounts[size - 1].id.bytes) if len(accounts) > size else ""
        return wire.ListServiceAccountsResponse(
            service_accounts=[to_message(account) for account in accounts[:size]], next_page_token=token
        )

    async def UpdateServiceAccount(self, request: wire.UpdateServiceAccountRequest, call: Call) -> Message | bytes:
        """Reads the mask before anything is locked."""
        account = request.service_account
        if not account.name:
            raise InvalidArgument("service_account.name", "value is required")
        fields = read(account, changed_paths(request.update_mask, account, READERS))

        async def work(connection: Connection) -> Message:
            return to_message(await service.update(connection, call.actor, _id(account.name), account.etag, fields))

        return await self._end(request, call, work)

    async def DeleteServiceAccount(self, request: wire.DeleteServiceAccountRequest, call: Call) -> Message | bytes:
        """See the contract."""

        async def work(connection: Connection) -> Message:
            return to_message(await service.delete(connection, call.actor, _id(request.name), request.etag))

        return await self._end(request, call, work)

    async def CreateKey(self, request: wire.CreateKeyRequest, call: Call) -> Message | bytes:
        """The secret goes out once, and is not stored with the answer."""
        key = request.key
        expire_time = get_time(key.expire_time) if key.HasField("expire_time") else None

        async def work(connection: Connection) -> Message:
            made, secret = await service.create_key(
                connection, call.actor, _id(request.parent), key.display_name.strip(), expire_time
            )
            message = to_key(made)
            # Nobody signs in with a key that was not written.
            message.secret = "" if request.validate_only else secret
            return message

        return await self._run(request, call, work, unstored="secret")

    async def ListKeys(self, request: wire.ListKeysRequest, call: Call) -> wire.ListKeysResponse:
        """Two round trips: is there such an account, and its keys."""
        pager = Pager(self._secrets, call, request)
        cursor = pager.cursor(16)
        size = page_size(request.page_size)
        async with self._database.connection() as connection:
            keys = await service.page_of_keys(
                connection,
                _id(request.parent),
                before=uuid.UUID(bytes=cursor) if cursor else None,
                limit=size + 1,
            )
        token = pager.token(keys[size - 1].id.bytes) if len(keys) > size else ""
        return wire.ListKeysResponse(keys=[to_key(key) for key in keys[:size]], next_page_token=token)

    async def RevokeKey(self, request: wire.RevokeKeyRequest, call: Call) -> Message | bytes:
        """See the contract."""
        account, _, key = request.name.partition("/keys/")

        async def work(connection: Connection) -> Message:
            return to_key(await service.revoke_key(connection, call.actor, _id(account), uuid.UUID(key)))

        return await self._end(request, call, work)

    async def _end(self, request: Any, call: Call, work: Callable[[Connection], Awaitable[Message]]) -> Message | bytes:
        """Runs what may end tokens: in this process they are over before the caller is answered."""
        answer = await self._run(request, call, work)
        await self._revocations.follow()
        return answer

    async def _run(
        self, request: Any, call: Call, work: Callable[[Connection], Awaitable[Message]], *, unstored: str = ""
    ) -> Message | bytes:
        return await self._idempotency.run(call, request, work, dry_run=request.validate_only, unstored=unstored)


def _id(name: str) -> uuid.UUID:
    return parse_name(PrincipalKind.SERVICE_ACCOUNT, name)
