"""The rules of signing in with an address and a password. Knows no gRPC, and never commits.

An address without an account is treated like one that has one, in every step: the same queries, the same hashing, the
same counting, the same answers. Whether somebody has to wait is decided at the end as well, with the count locked:
however many guesses arrive at once, they learn no more than if they had come one after the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from api_service.auth import queries
from api_service.auth.queries import CredentialsRow
from api_service.database import Connection
from api_service.lockouts import service as lockouts
from api_service.lockouts.service import Lockouts, Subject
from api_service.origin import Origin
from api_service.sessions import queries as sessions
from api_service.sessions.service import Sessions, Tokens
from shared import events
from shared.errors import CredentialsInvalid, SignInLocked
from shared.ids import resource_name
from shared.states import PrincipalKind

#: The resource of a refusal that belongs to nobody's account. The address that was tried is not kept: now and then
#: somebody types a password there.
NOBODY = resource_name(PrincipalKind.USER, "-")


@dataclass(frozen=True, slots=True)
class Attempt:
    """What is known once an address has been looked up."""

    user: CredentialsRow | None
    origin: Origin
    #: Whose failures count: the account's, or those of the device that the owner has used before.
    guesses: Subject
    caller: Subject

    @property
    def resource(self) -> str:
        """The account, as the audit names it."""
        return resource_name(PrincipalKind.USER, self.user.id) if self.user else NOBODY


class SignIn:
    """Lets in whoever knows the password, and nobody who guesses it."""

    def __init__(self, limits: Lockouts, opening: Sessions) -> None:
        self._limits = limits
        self._sessions = opening

    async def begin(self, connection: Connection, email: str, origin: Origin) -> Attempt:
        """Looks an address up. Raises SignInLocked: nobody hashes for those who have to wait."""
        device = self._sessions.device(origin)
        user = await queries.credentials(connection, email, device)
        known = user is not None and user.device_known
        guesses = self._limits.device(email, device) if known else self._limits.account(email)
        attempt = Attempt(user, origin, guesses, self._limits.caller(origin))
        wait = await lockouts.wait(connection, attempt.guesses, attempt.caller)
        if wait is not None:
            raise SignInLocked(wait)
        return attempt

    async def finish(
        self, connection: Connection, attempt: Attempt, *, right: bool
    ) -> Tokens | CredentialsInvalid | SignInLocked:
        """Opens a session, or returns a refusal whose trace has to be committed before it is raised."""
        wait = await lockouts.hold(connection, attempt.guesses)
        if wait is not None:
            return SignInLocked(wait)
        user = attempt.user if right else None
        role = await sessions.lock_role(connection, user.id, user.password_version) if user else None
        if user is None or role is None:
            return await self._refuse(connection, attempt)
        await lockouts.forget(connection, attempt.guesses)
        return await self._sessions.open(connection, user.id, role, attempt.origin)

    async def _refuse(self, connection: Connection, attempt: Attempt) -> CredentialsInvalid | SignInLocked:
        charge = await lockouts.charge(connection, attempt.guesses)
        if charge is None:  # others have failed in the meantime
            return SignInLocked(1.0)
        failures = [charge.failures - 1, charge.failures]
        await self._tell(connection, attempt, events.SESSION_REFUSED, {"failures": failures})
        if charge.wait is not None:
            await self._tell(connection, attempt, events.USER_LOCKED, {"seconds": [None, round(charge.wait)]})
        caller = await lockouts.charge(connection, attempt.caller)
        if caller is not None and caller.wait is not None:
            await self._tell(connection, attempt, events.ADDRESS_LOCKED, {"seconds": [None, round(caller.wait)]})
        return CredentialsInvalid()

    async def _tell(self, connection: Connection, attempt: Attempt, kind: str, changes: dict[str, Any]) -> None:
        event = events.new_event(
            kind,
            attempt.resource,
            events.ANYBODY,
            owner_id=attempt.user.id if attempt.user else None,
            changes=changes,
            context=attempt.origin.context,
        )
        await queries.append_event(connection, event)
