"""The rules of registration. Knows no gRPC, and never commits."""

from __future__ import annotations

import uuid

from api_service.auth import queries
from api_service.database import Connection
from api_service.settings import ApiSettings
from shared.crypto import Secrets
from shared.errors import LinkInvalid
from shared.events import new_event
from shared.ids import new_id, resource_name
from shared.kinds import EMAIL
from shared.outbox import new_job
from shared.traces import traceparent

#: What a verification link is for; part of what its signature covers.
VERIFY_EMAIL = "verify-email"


class AuthService:
    """Registration and verification."""

    def __init__(self, settings: ApiSettings, secrets: Secrets) -> None:
        self._settings = settings
        self._secrets = secrets

    async def register(self, connection: Connection, registration: queries.RegistrationRow) -> None:
        """Writes a registration down and mails its link; the owner of a known address is told instead."""
        known = await queries.user_by_email(connection, registration.email)
        if known is not None:
            args = {"template": "already_registered", "user": str(known)}
        else:
            id_ = new_id()
            await queries.insert_registration(connection, id_, registration, self._settings.link_seconds)
            args = {"template": "verification", "registration": str(id_)}
        await self._mail(connection, args, owner=known)

    async def resend_verification(self, connection: Connection, email: str) -> None:
        """Mails the link of the newest registration again, if there is one."""
        id_ = await queries.extend_registration(connection, email, self._settings.link_seconds)
        if id_ is not None:
            await self._mail(connection, {"template": "verification", "registration": str(id_)}, owner=None)

    async def verify_email(self, connection: Connection, token: str) -> uuid.UUID:
        """Turns the registration of a link into an account and mails a welcome. Raises LinkInvalid."""
        registration_id = self._secrets.open_link(VERIFY_EMAIL, token)
        if registration_id is None:
            raise LinkInvalid
        registration = await queries.take_registrations(connection, registration_id)
        if registration is None:
            raise LinkInvalid
        user_id = new_id()
        if not await queries.insert_user(connection, user_id, registration):
            raise LinkInvalid
        name = resource_name("users", user_id)
        await queries.append_event(connection, new_event("user.created", name, name, owner_id=user_id, changes={}))
        await self._mail(connection, {"template": "welcome", "user": str(user_id)}, owner=user_id)
        return user_id

    async def _mail(self, connection: Connection, args: dict[str, str], *, owner: uuid.UUID | None) -> None:
        await queries.enqueue(connection, new_job(EMAIL, args, owner_id=owner, traceparent=traceparent()))
