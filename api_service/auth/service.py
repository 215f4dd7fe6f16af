"""The rules of registration. Knows no gRPC, and never commits."""

from __future__ import annotations

import uuid

from api_service.auth import queries
from api_service.credentials.service import Credentials
from api_service.database import Connection
from api_service.origin import Origin
from api_service.settings import ApiSettings
from shared.crypto import Secrets
from shared.errors import LinkInvalid
from shared.events import USER_CREATED, new_event
from shared.ids import new_id, resource_name
from shared.kinds import EMAIL
from shared.links import CHANGE_EMAIL, VERIFY_EMAIL
from shared.outbox import new_job
from shared.states import PrincipalKind
from shared.traces import traceparent


class AuthService:
    """Registration and verification."""

    def __init__(self, settings: ApiSettings, secrets: Secrets, credentials: Credentials) -> None:
        self._settings = settings
        self._secrets = secrets
        self._credentials = credentials

    async def register(self, connection: Connection, registration: queries.RegistrationRow, origin: Origin) -> None:
        """Writes a registration down and mails its link; the owner of a known address is told instead."""
        may_mail = await self._credentials.may_mail(connection, registration.email)
        known = await queries.user_by_email(connection, registration.email)
        if known is not None:
            args = {"template": "already_registered", "user": str(known)}
        else:
            id_ = new_id()
            await queries.insert_registration(connection, id_, registration, origin, self._settings.link_seconds)
            args = {"template": "verification", "registration": str(id_)}
        if may_mail:
            await self._mail(connection, args, owner=known)

    async def resend_verification(self, connection: Connection, email: str, origin: Origin) -> None:
        """Mails the link of the pending registration again, if there is one.

        Where there are several, nobody can tell which of them the caller has made, and the newest may be somebody
        else's, who hopes that its password becomes the account's. Then the mail has a link to choose a password:
        whoever reads mail at the address decides.
        """
        if not await self._credentials.may_mail(connection, email):
            return
        match await queries.pending_registrations(connection, email):
            case []:
                return
            case [id_]:
                await queries.extend_registration(connection, id_, self._settings.link_seconds)
                await self._mail(connection, {"template": "verification", "registration": str(id_)}, owner=None)
            case _:
                await self._credentials.mail_choice(connection, email, origin)

    async def verify_email(self, connection: Connection, token: str, origin: Origin) -> uuid.UUID:
        """Turns the registration of a link into an account, or gives an account its new address. Raises LinkInvalid."""
        change = self._secrets.open_link(CHANGE_EMAIL, token)
        if change is not None:
            return await self._credentials.confirm_email(connection, change, origin)
        registration_id = self._secrets.open_link(VERIFY_EMAIL, token)
        if registration_id is None:
            raise LinkInvalid
        registration = await queries.take_registrations(connection, registration_id)
        if registration is None:
            raise LinkInvalid
        user_id = new_id()
        if not await queries.insert_user(connection, user_id, registration):
            raise LinkInvalid
        name = resource_name(PrincipalKind.USER, user_id)
        event = new_event(USER_CREATED, name, name, owner_id=user_id, changes={}, context=origin.context)
        await queries.append_event(connection, event)
        await self._mail(connection, {"template": "welcome", "user": str(user_id)}, owner=user_id)
        return user_id

    async def _mail(self, connection: Connection, args: dict[str, str], *, owner: uuid.UUID | None) -> None:
        await queries.enqueue(connection, new_job(EMAIL, args, owner_id=owner, traceparent=traceparent()))
