"""Who has to wait, and how long. In PostgreSQL, so that neither a restart nor the absence of Redis lets anybody off.

A subject is a keyed hash of what is counted: an address that has no account is counted like one that has, and the table
tells nobody which addresses were tried.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from api_service.database import Connection
from api_service.lockouts import queries
from api_service.lockouts.queries import Charge
from api_service.metrics import LOCKOUTS
from api_service.origin import Origin
from api_service.settings import ApiSettings
from shared.crypto import Secrets


@dataclass(frozen=True, slots=True)
class Rule:
    """How often something may fail, and what follows. Times are in seconds."""

    #: The last of so many failures is the first that has to be waited for.
    free: int
    shortest: float
    longest: float
    #: After so long one failure is forgotten.
    forget: float


@dataclass(frozen=True, slots=True)
class Subject:
    """What is counted, and by which rule."""

    key: bytes
    rule: Rule
    kind: str


#: Mails that anybody can have sent to an address, by registering it or by asking for a link.
MAILS = Rule(free=5, shortest=60, longest=3600, forget=3600)


class Lockouts:
    """Counts failures, and says who has to wait."""

    def __init__(self, settings: ApiSettings, secrets: Secrets) -> None:
        shortest, longest = settings.lockout_seconds, settings.lockout_maximum_seconds
        # One guess an hour is what a locked account leaves: at most 24 a day (NIST SP 800-63B asks for less than 100).
        self._account = Rule(settings.lockout_failures, shortest, longest, forget=3600)
        self._address = Rule(settings.lockout_address_failures, shortest, longest, forget=30)
        self._secrets = secrets

    def account(self, email: str) -> Subject:
        """Guesses at the password of an address, wherever from."""
        return self._subject("account", email, self._account)

    def device(self, email: str, device: bytes) -> Subject:
        """Guesses from a device that the owner has signed in from: nobody elsewhere can lock the owner out of it."""
        return self._subject("device", f"{email} {device.hex()}", self._account)

    def owner(self, name: str) -> Subject:
        """Guesses by somebody who is signed in already, to whom the password is asked once more."""
        return self._subject("owner", name, self._account)

    def caller(self, origin: Origin) -> Subject:
        """Guesses from one address (of IPv6, its /64 network), at whatever account."""
        return self._subject("caller", origin.network(32, 64), self._address)

    def mails(self, email: str) -> Subject:
        """Mails to an address."""
        return self._subject("mails", email, MAILS)

    def _subject(self, kind: str, value: str, rule: Rule) -> Subject:
        return Subject(self._secrets.fingerprint(b"lockout", kind.encode(), value.encode()), rule, kind)


async def wait(connection: Connection, *subjects: Subject) -> float | None:
    """Returns for how many seconds one of the subjects has to wait, or None."""
    return await queries.longest_wait(connection, [subject.key for subject in subjects])


async def hold(connection: Connection, subject: Subject) -> float | None:
    """The same, and no failure of this subject is counted in the meantime."""
    return await queries.hold(connection, subject.key)


async def charge(connection: Connection, subject: Subject) -> Charge | None:
    """Counts a failure; returns None where the subject is locked, and nothing is counted."""
    charge = await queries.charge(connection, subject.key, asdict(subject.rule))
    if charge is not None and charge.wait is not None:
        LOCKOUTS.labels(subject.kind).inc()
    return charge


async def forget(connection: Connection, *subjects: Subject) -> None:
    """Forgets the failures of those who have proved who they are."""
    await queries.forget(connection, [subject.key for subject in subjects])
