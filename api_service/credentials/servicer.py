"""The part of AuthService that changes passwords and addresses."""

from __future__ import annotations

import uuid

from google.protobuf.message import Message
from taskhub.v1 import auth_service_pb2

from api_service.auth import policy
from api_service.auth.address import normalise
from api_service.auth.passwords import Passwords
from api_service.auth.revocations import Revocations
from api_service.call import Call
from api_service.credentials import queries
from api_service.credentials.service import Credentials
from api_service.database import Connection, Database
from api_service.idempotency import Idempotency
from api_service.notifier import Notifier
from shared.errors import LinkInvalid
from shared.ids import resource_name
from shared.links import RESET_PASSWORD
from shared.states import PrincipalKind


class CredentialServicer:
    """Opens the transactions. No connection is held while a password is hashed."""

    def __init__(
        self,
        service: Credentials,
        database: Database,
        idempotency: Idempotency,
        passwords: Passwords,
        revocations: Revocations,
        jobs: Notifier,
    ) -> None:
        self._service = service
        self._database = database
        self._idempotency = idempotency
        self._passwords = passwords
        self._revocations = revocations
        self._jobs = jobs

    async def ChangePassword(self, request: auth_service_pb2.ChangePasswordRequest, call: Call) -> Message | bytes:
        """The other sessions are over in this process at once, in the others within seconds."""
        account = await self._begin(call)
        policy.check(request.new_password, account.email, field="new_password")
        if not await self._passwords.verify(account.password_hash, request.current_password):
            return await self._refuse(call, request)
        hashed = await self._passwords.hash(request.new_password)
        ended: list[uuid.UUID] = []

        async def work(connection: Connection) -> Message:
            ended.extend(await self._service.change_password(connection, call.user, account, hashed, call.origin))
            return auth_service_pb2.ChangePasswordResponse()

        response = await self._idempotency.run(call, request, work)
        self._revocations.add(*ended)
        self._jobs.wake()
        return response

    async def ChangeEmail(self, request: auth_service_pb2.ChangeEmailRequest, call: Call) -> Message | bytes:
        """Takes effect when the link is opened (VerifyEmail)."""
        email = normalise(request.email)
        account = await self._begin(call)
        if not await self._passwords.verify(account.password_hash, request.current_password):
            return await self._refuse(call, request)

        async def work(connection: Connection) -> Message:
            await self._service.request_email(connection, call.user, account, email, call.origin)
            return auth_service_pb2.ChangeEmailResponse()

        response = await self._idempotency.run(call, request, work)
        self._jobs.wake()
        return response

    async def RequestPasswordReset(
        self, request: auth_service_pb2.RequestPasswordResetRequest, call: Call
    ) -> Message | bytes:
        """Answers the same, whatever is known of the address."""
        email = normalise(request.email)

        async def work(connection: Connection) -> Message:
            await self._service.request_reset(connection, email, call.origin)
            return auth_service_pb2.RequestPasswordResetResponse()

        response = await self._idempotency.run(call, request, work, subject=email)
        self._jobs.wake()
        return response

    async def ConfirmPasswordReset(
        self, request: auth_service_pb2.ConfirmPasswordResetRequest, call: Call
    ) -> Message | bytes:
        """Looks at the link first: a password that is not taken does not use it up."""
        link_id = self._service.open_reset(request.token)
        async with self._database.connection() as connection:
            link = await queries.link(connection, link_id, RESET_PASSWORD)
        if link is None:
            return await self._stored_or(call, request, LinkInvalid(), subject=request.token)
        policy.check(request.new_password, link.email, field="new_password")
        hashed = await self._passwords.hash(request.new_password)
        ended: list[uuid.UUID] = []

        async def work(connection: Connection) -> Message:
            user_id, over = await self._service.reset(connection, link_id, hashed, call.origin)
            ended.extend(over)
            return auth_service_pb2.ConfirmPasswordResetResponse(user=resource_name(PrincipalKind.USER, user_id))

        response = await self._idempotency.run(call, request, work, subject=request.token)
        self._revocations.add(*ended)
        self._jobs.wake()
        return response

    async def _begin(self, call: Call) -> queries.AccountRow:
        async with self._database.connection() as connection:
            return await self._service.begin(connection, call.user)

    async def _refuse(self, call: Call, request: Message) -> bytes:
        """The password may be wrong because this very call has changed it: then it gets its answer again."""
        stored = await self._idempotency.stored(call, request)
        if stored is not None:
            return stored
        async with self._database.transaction() as connection:
            refusal = await self._service.refuse(connection, call.user, call.origin)
        raise refusal

    async def _stored_or(self, call: Call, request: Message, refusal: LinkInvalid, *, subject: str) -> bytes:
        stored = await self._idempotency.stored(call, request, subject=subject)
        if stored is None:
            raise refusal
        return stored
