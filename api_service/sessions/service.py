"""The rules of sessions. Knows no gRPC, and never commits."""

from __future__ import annotations

import hashlib
import re
import secrets as random
import uuid
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto

from api_service.auth import queries as accounts
from api_service.auth.tokens import TokenSigner
from api_service.database import Connection
from api_service.origin import Origin
from api_service.principal import Principal, scopes_of
from api_service.sessions import queries
from api_service.sessions.queries import Ending
from api_service.settings import ApiSettings
from shared import events
from shared.crypto import Secrets
from shared.errors import NotFound
from shared.ids import new_id, parse_name, resource_name
from shared.kinds import EMAIL
from shared.outbox import new_job
from shared.states import PrincipalKind, Role
from shared.traces import traceparent

COLLECTION = "sessions"

#: Why a session ended, as the audit tells it.
SIGNED_OUT = "signed_out"
REVOKED = "revoked"
TOKEN_REUSED = "refresh_token_reused"  # noqa: S105  a name
PASSWORD_CHANGED = "password_changed"  # noqa: S105  a name


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


class Sessions:
    """Opens sessions and keeps them alive."""

    def __init__(self, settings: ApiSettings, secrets: Secrets, signer: TokenSigner) -> None:
        self._settings = settings
        self._secrets = secrets
        self._signer = signer

    def device(self, origin: Origin) -> bytes:
        """Returns what the device of a caller is known by."""
        return device(self._secrets, origin)

    async def open(self, connection: Connection, user_id: uuid.UUID, role: str, origin: Origin) -> Tokens:
        """Opens a session, and mails its owner if the device is a new one."""
        principal = Principal(user_id, PrincipalKind.USER, new_id(), scopes_of(Role(role)))
        refresh_token = random.token_urlsafe(32)
        expire = await queries.insert(
            connection,
            principal.session_id,
            user_id,
            hash_token(refresh_token),
            origin,
            session_seconds=self._settings.session_seconds,
            token_seconds=self._settings.refresh_token_seconds,
        )
        event = events.new_event(
            events.SESSION_CREATED,
            resource_name(COLLECTION, principal.session_id),
            principal.name,
            owner_id=user_id,
            changes={},
            context=origin.context,
        )
        await accounts.append_event(connection, event)
        if await queries.note_device(connection, user_id, self.device(origin)):
            args = {"template": "new_device", "session": str(principal.session_id)}
            await accounts.enqueue(connection, new_job(EMAIL, args, owner_id=user_id, traceparent=traceparent()))
        return self._pair(principal, refresh_token, expire)

    async def refresh(self, connection: Connection, refresh_token: str, origin: Origin) -> Tokens | Refusal:
        """Exchanges a refresh token.

        A token used before is honoured within the grace time, for two requests that raced; later it is taken for
        stolen, and the session ends. The next token is derived from the one before, so that both who raced get the
        same: a thief cannot turn the grace time into a line of tokens of his own that nobody would ever notice.
        """
        old = hash_token(refresh_token)
        row = await queries.lock_refresh_token(connection, old)
        if row is None or row.over:
            return Refusal.UNKNOWN
        principal = Principal(row.user_id, PrincipalKind.USER, row.session_id, scopes_of(Role(row.role)))
        if row.used_seconds_ago is not None and row.used_seconds_ago > self._settings.refresh_grace_seconds:
            ending = Ending(TOKEN_REUSED, events.ANYBODY, origin)
            await queries.revoke(connection, row.session_id, row.user_id, ending)
            return Refusal.REUSED
        successor = self._secrets.next_refresh_token(refresh_token)
        expire = await queries.rotate(
            connection, row.session_id, old, hash_token(successor), origin, self._settings.refresh_token_seconds
        )
        return self._pair(principal, successor, expire)

    def _pair(self, principal: Principal, refresh_token: str, refresh_expire_time: datetime) -> Tokens:
        access_token, access_expire_time = self._signer.sign(principal, until=refresh_expire_time)
        return Tokens(access_token, access_expire_time, refresh_token, refresh_expire_time, principal)


async def page(
    connection: Connection, principal: Principal, *, before: uuid.UUID | None, limit: int
) -> list[queries.SessionRow]:
    """Returns sessions of the caller that are not over, newest first."""
    return await queries.page(connection, principal.id, before=before, limit=limit)


async def revoke(
    connection: Connection, principal: Principal, session_id: uuid.UUID, origin: Origin, reason: str = REVOKED
) -> None:
    """Ends a session of the caller; one that is over stays so. Raises NotFound for any other."""
    ending = Ending(reason, principal.name, origin)
    if not await queries.revoke(connection, session_id, principal.id, ending):
        await _must_exist(connection, principal, session_id)


async def _must_exist(connection: Connection, principal: Principal, session_id: uuid.UUID) -> None:
    if not await queries.exists(connection, session_id, principal.id):
        raise NotFound


async def revoke_all(
    connection: Connection, principal: Principal, origin: Origin, *, keep_current: bool, reason: str = REVOKED
) -> list[uuid.UUID]:
    """Ends every session of the caller, or every other one; returns those that were open."""
    spared = principal.session_id if keep_current else None
    return await queries.revoke_all(connection, principal.id, Ending(reason, principal.name, origin), spared=spared)


def device(secrets: Secrets, origin: Origin) -> bytes:
    """Returns what a device is known by: what it says it is, less all version numbers, and the network around it.

    A browser that was updated is the same device, and so is one that got another address of its network (/24, and of
    IPv6 /48).
    """
    program = re.sub(r"[0-9.]+", "", origin.user_agent)
    return secrets.fingerprint(b"device", program.encode(), origin.network(24, 48).encode())


def session_id(name: str) -> uuid.UUID:
    """Returns the id in `sessions/{id}`. The name's pattern was checked before."""
    return parse_name(COLLECTION, name)


def hash_token(token: str) -> bytes:
    """Returns what is stored of a refresh token. It is 256 random bits, so a plain hash hides it."""
    return hashlib.sha256(token.encode()).digest()
