"""The rules of registration and sign-in. Knows no gRPC, and never commits."""

from __future__ import annotations

import hashlib
import secrets as random
import uuid
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto

from api_service.auth import queries
from api_service.auth.tokens import TokenSigner
from api_service.database import Connection
from api_service.principal import Principal, scopes_of
from api_service.settings import ApiSettings
from shared.crypto import Secrets
from shared.errors import LinkInvalid
from shared.events import new_event
from shared.ids import new_id, resource_name
from shared.kinds import EMAIL
from shared.outbox import new_job
from shared.states import PrincipalKind, Role
from shared.traces import traceparent

#: What a verification link is for; part of what its signature covers.
VERIFY_EMAIL = "verify-email"


@dataclass(frozen=True, slots=True)
class Tokens:
    """A pair as it goes to the caller, and nowhere else."""

    access_token: str
    access_expire_time: datetime
    refresh_token: str
    refresh_expire_time: datetime
    principal: Principal


class Refusal(Enum):
    """Why a refresh was refused. REUSED leaves a trace that has to be committed."""

    UNKNOWN = auto()
    REUSED = auto()


class AuthService:
    """Registration, verification, sessions."""

    def __init__(self, settings: ApiSettings, secrets: Secrets, signer: TokenSigner) -> None:
        self._settings = settings
        self._secrets = secrets
        self._signer = signer

    async def register(self, connection: Connection, registration: queries.RegistrationRow) -> None:
        """Writes a registration down and mails its link; the owner of a known address is told instead."""
        known = await queries.user_by_email(connection, registration.email)
        if known is not None:
            args = {"template": "already_registered", "user": str(known.id)}
        else:
            id_ = new_id()
            await queries.insert_registration(connection, id_, registration, self._settings.link_seconds)
            args = {"template": "verification", "registration": str(id_)}
        await self._mail(connection, args, owner=known.id if known else None)

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

    async def open_session(self, connection: Connection, user_id: uuid.UUID) -> Tokens | None:
        """Opens a session for somebody whose password was right, or None for an account that is not to be used."""
        role = await queries.lock_active_user(connection, user_id)
        if role is None:
            return None
        principal = Principal(user_id, PrincipalKind.USER, new_id(), scopes_of(Role(role)))
        refresh_token = random.token_urlsafe(32)
        expire = await queries.insert_session(
            connection,
            principal.session_id,
            user_id,
            hash_token(refresh_token),
            session_seconds=self._settings.session_seconds,
            token_seconds=self._settings.refresh_token_seconds,
        )
        return self._pair(principal, refresh_token, expire)

    async def refresh(self, connection: Connection, refresh_token: str) -> Tokens | Refusal:
        """Exchanges a refresh token.

        A token used before is honoured within the grace time, for two requests that raced; later it is taken for
        stolen, and the session ends.
        """
        old = hash_token(refresh_token)
        row = await queries.lock_refresh_token(connection, old)
        if row is None or row.over:
            return Refusal.UNKNOWN
        if row.used_seconds_ago is not None and row.used_seconds_ago > self._settings.refresh_grace_seconds:
            await queries.revoke_session(connection, row.session_id)
            return Refusal.REUSED
        successor = random.token_urlsafe(32)
        expire = await queries.rotate_refresh_token(
            connection, row.session_id, old, hash_token(successor), self._settings.refresh_token_seconds
        )
        principal = Principal(row.user_id, PrincipalKind.USER, row.session_id, scopes_of(Role(row.role)))
        return self._pair(principal, successor, expire)

    def _pair(self, principal: Principal, refresh_token: str, refresh_expire_time: datetime) -> Tokens:
        access_token, access_expire_time = self._signer.sign(principal)
        return Tokens(access_token, access_expire_time, refresh_token, refresh_expire_time, principal)

    async def _mail(self, connection: Connection, args: dict[str, str], *, owner: uuid.UUID | None) -> None:
        await queries.enqueue(connection, new_job(EMAIL, args, owner_id=owner, traceparent=traceparent()))


def hash_token(token: str) -> bytes:
    """Returns what is stored of a refresh token. It is 256 random bits, so a plain hash hides it."""
    return hashlib.sha256(token.encode()).digest()
