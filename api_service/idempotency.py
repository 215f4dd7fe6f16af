"""One mechanism for every mutating RPC: the same key twice means one effect and one answer.

The record commits with the effect, so that a crash anywhere before the commit leaves neither. Callers of one key inside
this process wait for each other in memory, without a connection; callers in other processes wait on the unique index.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from google.protobuf.message import Message

from api_service.call import Call
from api_service.database import Connection, Database
from shared.crypto import Secrets
from shared.errors import IdempotencyKeyInUse, IdempotencyKeyReused
from shared.idempotency import CLAIM, READ, STORE

#: So that the refusal arrives before the caller's own deadline does.
_MARGIN = 0.05

Work = Callable[[Connection], Awaitable[Message]]


@dataclass(frozen=True, slots=True)
class Record:
    """A claim on a key: whose, on which method, and for which request."""

    principal: str
    method: str
    key: str
    fingerprint: bytes

    def parameters(self, response: bytes | None = None) -> dict[str, Any]:
        """Returns the parameters of the statements in `shared.idempotency`."""
        return {
            "idem_principal": self.principal,
            "idem_method": self.method,
            "idem_key": self.key,
            "idem_fingerprint": self.fingerprint,
            "idem_response": response,
        }


class Idempotency:
    """Runs mutations, once for each key."""

    def __init__(self, database: Database, secrets: Secrets, lock_timeout: float) -> None:
        self._database = database
        self._secrets = secrets
        self._lock_timeout = lock_timeout
        self._turns: dict[tuple[str, str, str], _Turn] = {}

    def record(
        self, call: Call, request: Message, *, subject: str | None = None, content: bytes = b""
    ) -> Record | None:
        """Returns the claim that the call makes, or None for a call without a key.

        Anonymous calls name their `subject`, the address or token in the request: it takes the principal's place. A
        stream of requests is its first message without its data, and as `content` the SHA-256 of all data: however it
        was cut into messages, it is the same request.
        """
        key = call.idempotency_key()
        if key is None:
            return None
        if subject is None:
            principal = call.principal.name
        else:
            principal = f"anonymous:{self._secrets.fingerprint(b'subject', subject.encode()).hex()}"
        body = request.SerializeToString(deterministic=True)
        parts = (call.method.path.encode(), body, content) if content else (call.method.path.encode(), body)
        return Record(principal, call.method.path, key, self._secrets.fingerprint(*parts))

    async def run(
        self,
        call: Call,
        request: Message,
        work: Work,
        *,
        subject: str | None = None,
        content: bytes = b"",
        dry_run: bool = False,
        unstored: str = "",
    ) -> Message | bytes:
        """Runs `work` in a transaction and returns its answer, or the stored bytes of the call that came first.

        A dry run (`validate_only`) checks everything, claims no key and writes nothing. The field `unstored` of the
        answer holds a secret, which only the first call gets to see.
        """
        record = None if dry_run else self.record(call, request, subject=subject, content=content)
        if record is None:
            async with self._database.transaction(dry_run=dry_run) as connection:
                return await work(connection)
        async with self.turn(call, record):
            async with self._database.transaction() as connection:
                async with self.claiming(call):
                    claim = await connection.execute(CLAIM, record.parameters())
                if claim.rowcount:
                    answer = await work(connection)
                    response = answer.SerializeToString()
                    if unstored:
                        answer.ClearField(unstored)
                    await connection.execute(STORE, record.parameters(answer.SerializeToString()))
                    return response
            return await self.replay(call, record)

    @asynccontextmanager
    async def claiming(self, call: Call) -> AsyncIterator[None]:
        """Bounds how long a claim may wait in PostgreSQL for the call that holds the key in another process.

        PostgreSQL itself keeps the lock timeout; only a caller who hangs up sooner needs a timer of ours.
        """
        patience = self._patience(call)
        try:
            async with asyncio.timeout(patience if patience < self._lock_timeout else None):
                yield
        except (psycopg.errors.LockNotAvailable, TimeoutError):
            raise IdempotencyKeyInUse from None

    def _patience(self, call: Call) -> float:
        """Returns the seconds until the lock timeout, or until just before the caller would hang up."""
        return min(self._lock_timeout, max(0.0, call.time_left() - _MARGIN))

    async def replay(self, call: Call, record: Record) -> bytes:
        """Returns what the first call answered. Raises IdempotencyKeyReused if that was another request."""
        response = await self._read(call, record)
        if response is None:  # it expired or was rolled back between the two statements
            raise IdempotencyKeyInUse
        return response

    async def stored(self, call: Call, request: Message, *, subject: str | None = None) -> bytes | None:
        """Returns what an earlier call with this key answered, or None: for calls that cannot be made a second time."""
        record = self.record(call, request, subject=subject)
        return await self._read(call, record) if record is not None else None

    async def _read(self, call: Call, record: Record) -> bytes | None:
        async with self._database.connection() as connection:
            cursor = await connection.execute(READ, record.parameters())
            row = await cursor.fetchone()
        if row is None:
            return None
        fingerprint, response = row
        if fingerprint != record.fingerprint:
            raise IdempotencyKeyReused
        call.initial_metadata.append(("idempotency-replayed", "true"))
        return bytes(response)

    @asynccontextmanager
    async def turn(self, call: Call, record: Record) -> AsyncIterator[None]:
        """Waits until no other call of this process holds the key."""
        name = (record.principal, record.method, record.key)
        turn = self._turns.setdefault(name, _Turn())
        turn.waiting += 1
        try:
            try:
                # No timer for the only one who wants the key, as is usual.
                async with asyncio.timeout(self._patience(call) if turn.waiting > 1 else None):
                    await turn.lock.acquire()
            except TimeoutError:
                raise IdempotencyKeyInUse from None
            try:
                yield
            finally:
                turn.lock.release()
        finally:
            turn.waiting -= 1
            if not turn.waiting:
                del self._turns[name]


class _Turn:
    """Who waits for a key."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.waiting = 0
