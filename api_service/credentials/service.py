"""The rules of changing a password and an address. Knows no gRPC, and never commits.

Whoever reads mail at an address can always choose the password of its account. A change of the password, in whatever
way, ends all other sessions and makes all links worthless that were mailed before.
"""

from __future__ import annotations

import uuid

import psycopg

from api_service.auth import queries as accounts
from api_service.credentials import queries
from api_service.credentials.queries import AccountRow, LinkRow
from api_service.database import Connection
from api_service.lockouts import service as lockouts
from api_service.lockouts.service import Lockouts, Subject
from api_service.origin import Origin
from api_service.principal import Principal
from api_service.sessions import queries as sessions
from api_service.sessions.queries import Ending
from api_service.sessions.service import PASSWORD_CHANGED, device
from api_service.settings import ApiSettings
from shared import events
from shared.crypto import Secrets
from shared.errors import EmailUnchanged, LinkInvalid, PasswordWrong, SignInLocked, TokenInvalid
from shared.ids import new_id, resource_name
from shared.kinds import EMAIL
from shared.links import CHANGE_EMAIL, RESET_PASSWORD
from shared.outbox import new_job
from shared.states import PrincipalKind
from shared.traces import traceparent


class Credentials:
    """Changes passwords and addresses."""

    def __init__(self, settings: ApiSettings, secrets: Secrets, limits: Lockouts) -> None:
        self._settings = settings
        self._secrets = secrets
        self._limits = limits

    async def begin(self, connection: Connection, user: Principal) -> AccountRow:
        """Returns the account of somebody who is about to give the password once more. Raises SignInLocked."""
        wait = await lockouts.wait(connection, self._guesses(user))
        if wait is not None:
            raise SignInLocked(wait)
        account = await queries.account(connection, user.id)
        if account is None:
            raise TokenInvalid
        return account

    async def refuse(self, connection: Connection, user: Principal, origin: Origin) -> PasswordWrong | SignInLocked:
        """Counts a wrong password of somebody who is signed in; returns a refusal to raise after the commit."""
        charge = await lockouts.charge(connection, self._guesses(user))
        if charge is None:
            return SignInLocked(1.0)
        changes = {"failures": [charge.failures - 1, charge.failures]}
        await self._tell(connection, events.USER_PASSWORD_REFUSED, user.id, origin, changes)
        return PasswordWrong("current_password")

    async def change_password(
        self, connection: Connection, user: Principal, account: AccountRow, password_hash: str, origin: Origin
    ) -> list[uuid.UUID]:
        """Changes the password of somebody who has given the one before; returns the sessions that end with it."""
        if not await queries.set_password(connection, user.id, password_hash, instead_of=account.password_version):
            raise PasswordWrong("current_password")  # somebody else has changed it in the meantime
        await self._admit(connection, user)
        return await self._password_changed(connection, user.id, user.name, origin, spared=user.session_id)

    async def request_reset(self, connection: Connection, email: str, origin: Origin) -> None:
        """Mails a link to choose a password, if the address has an account or is about to have one."""
        if not await self.may_mail(connection, email):
            return
        user_id = await queries.active_user(connection, email)
        if user_id is not None:
            id_ = new_id()
            seconds = self._settings.reset_link_seconds
            await queries.insert_link(connection, id_, RESET_PASSWORD, origin, seconds, user_id=user_id)
            await self._mail(connection, {"template": "password_reset", "link": str(id_)}, owner=user_id)
        elif await queries.registered(connection, email):
            await self.mail_choice(connection, email, origin)

    async def mail_choice(self, connection: Connection, email: str, origin: Origin) -> None:
        """Mails a link that makes the account of an address with the password that is chosen there."""
        id_ = new_id()
        await queries.insert_link(
            connection, id_, RESET_PASSWORD, origin, self._settings.reset_link_seconds, email=email
        )
        await self._mail(connection, {"template": "choose_password", "link": str(id_)})

    def open_reset(self, token: str) -> uuid.UUID:
        """Returns the id of a link to choose a password. Raises LinkInvalid."""
        id_ = self._secrets.open_link(RESET_PASSWORD, token)
        if id_ is None:
            raise LinkInvalid
        return id_

    async def reset(
        self, connection: Connection, link_id: uuid.UUID, password_hash: str, origin: Origin
    ) -> tuple[uuid.UUID, list[uuid.UUID]]:
        """Gives the account of a link its new password; returns it, and the sessions that end. Raises LinkInvalid."""
        link = await queries.use_link(connection, link_id, RESET_PASSWORD)
        if link is None:
            raise LinkInvalid
        if link.user_id is None:
            return await self._activate(connection, link.email, password_hash, origin), []
        if not await queries.set_password(connection, link.user_id, password_hash):
            raise LinkInvalid
        name = resource_name(PrincipalKind.USER, link.user_id)
        here = self._limits.device(link.email, device(self._secrets, origin))
        await lockouts.forget(connection, self._limits.account(link.email), self._limits.owner(name), here)
        return link.user_id, await self._password_changed(connection, link.user_id, name, origin)

    async def request_email(
        self, connection: Connection, user: Principal, account: AccountRow, email: str, origin: Origin
    ) -> None:
        """Mails a link to the new address and a notice to the old one; an address that is taken gets a notice too."""
        if email == account.email:
            raise EmailUnchanged
        # Held until the commit: a change of the password comes before, or finds this link and drops it.
        if await sessions.lock_role(connection, user.id, account.password_version) is None:
            raise PasswordWrong("current_password")
        await self._admit(connection, user)
        id_ = new_id()
        # Only the newest counts. A link to choose a password stays: whoever knows the password, and it may be a thief,
        # must not be able to keep whoever reads the mail from choosing another one.
        await queries.drop_links(connection, user.id, CHANGE_EMAIL)
        await queries.insert_link(
            connection,
            id_,
            CHANGE_EMAIL,
            origin,
            self._settings.link_seconds,
            user_id=user.id,
            email=email,
            old_email=account.email,
        )
        await self._tell(connection, events.USER_EMAIL_CHANGE_REQUESTED, user.id, origin)
        await self._mail(connection, {"template": "email_change_requested", "link": str(id_)}, owner=user.id)
        if not await self.may_mail(connection, email):
            return
        taken = await accounts.user_by_email(connection, email)
        if taken is not None:
            await self._mail(connection, {"template": "already_registered", "user": str(taken)}, owner=taken)
        else:
            await self._mail(connection, {"template": "email_change", "link": str(id_)}, owner=user.id)

    async def confirm_email(self, connection: Connection, link_id: uuid.UUID, origin: Origin) -> uuid.UUID:
        """Gives the account of a link its new address, and tells both. Raises LinkInvalid."""
        link = await queries.use_link(connection, link_id, CHANGE_EMAIL)
        if link is None or link.user_id is None:
            raise LinkInvalid
        await queries.drop_registrations(connection, link.email)
        if not await _set_email(connection, link):
            raise LinkInvalid
        await queries.drop_links(connection, link.user_id)  # they went to the old address
        await self._tell(connection, events.USER_EMAIL_CHANGED, link.user_id, origin)
        for recipient in ("old", "new"):
            args = {"template": "email_changed", "link": str(link_id), "recipient": recipient}
            await self._mail(connection, args, owner=link.user_id)
        return link.user_id

    async def may_mail(self, connection: Connection, email: str) -> bool:
        """Counts a mail that a stranger causes; returns whether it may be sent. The caller learns nothing of it."""
        return await lockouts.charge(connection, self._limits.mails(email)) is not None

    async def _activate(self, connection: Connection, email: str, password_hash: str, origin: Origin) -> uuid.UUID:
        user_id = new_id()
        await queries.drop_registrations(connection, email)  # before the account, as VerifyEmail does: no deadlock
        if not await accounts.insert_user(connection, user_id, accounts.RegistrationRow(email, password_hash, "")):
            raise LinkInvalid
        await self._tell(connection, events.USER_CREATED, user_id, origin)
        await self._mail(connection, {"template": "welcome", "user": str(user_id)}, owner=user_id)
        return user_id

    async def _password_changed(
        self, connection: Connection, user_id: uuid.UUID, actor: str, origin: Origin, *, spared: uuid.UUID | None = None
    ) -> list[uuid.UUID]:
        await queries.drop_links(connection, user_id)
        # Whoever knew the password before may have made a device of theirs a known one.
        await sessions.keep_device(connection, user_id, device(self._secrets, origin))
        await self._tell(connection, events.USER_PASSWORD_CHANGED, user_id, origin)
        await self._mail(connection, {"template": "password_changed", "user": str(user_id)}, owner=user_id)
        ending = Ending(PASSWORD_CHANGED, actor, origin)
        return await sessions.revoke_all(connection, user_id, ending, spared=spared)

    async def _admit(self, connection: Connection, user: Principal) -> None:
        """Forgets the failures of somebody who has given the right password. Raises SignInLocked.

        Asked once more, at the end: guesses that arrive at once are worth no more than those that come in a row.
        """
        wait = await lockouts.hold(connection, self._guesses(user))
        if wait is not None:
            raise SignInLocked(wait)
        await lockouts.forget(connection, self._guesses(user))

    def _guesses(self, user: Principal) -> Subject:
        return self._limits.owner(user.name)

    async def _tell(
        self,
        connection: Connection,
        kind: str,
        user_id: uuid.UUID,
        origin: Origin,
        changes: dict[str, list[int]] | None = None,
    ) -> None:
        name = resource_name(PrincipalKind.USER, user_id)
        event = events.new_event(kind, name, name, owner_id=user_id, changes=changes or {}, context=origin.context)
        await accounts.append_event(connection, event)

    async def _mail(self, connection: Connection, args: dict[str, str], *, owner: uuid.UUID | None = None) -> None:
        await accounts.enqueue(connection, new_job(EMAIL, args, owner_id=owner, traceparent=traceparent()))


async def _set_email(connection: Connection, link: LinkRow) -> bool:
    assert link.user_id is not None  # noqa: S101  the table's constraint
    assert link.old_email is not None  # noqa: S101  the same
    try:
        return await queries.set_email(connection, link.user_id, link.old_email, link.email)
    except psycopg.errors.UniqueViolation:  # somebody has taken it in the meantime
        return False
