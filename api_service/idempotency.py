"""One mechanism for every mutating RPC: the same key twice means one effect and one answer.

The record commits with the effect, so that a crash anywhere before the commit leaves neither. Callers of one key inside
this process wait for each other in memory, without a connection; callers in other processes wait on the unique index.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
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
        self._queues: dict[tuple[str, str, str], _Queue] = {}

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
        record = self.record(call, request, subject=subject, content=content)
        if record is None or dry_run:
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

    def claiming(self, call: Call) -> _Claiming:
        """Bounds how long a claim may wait in PostgreSQL for the call that holds the key in another process.

        PostgreSQL itself keeps the lock timeout; only a caller who hangs up sooner needs a timer of ours.
        """
        patience = self._patience(call)
        return _Claiming(patience if patience < self._lock_timeout else None)

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

    def turn(self, call: Call, record: Record) -> _Turn:
        """Waits until no other call of this process holds the key."""
        return _Turn(self._queues, (record.principal, record.method, record.key), self._patience(call))


class _Queue:
    """Who waits for a key."""

    __slots__ = ("lock", "waiting")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.waiting = 0


# Classes: a generator's context manager costs several times as much, and every mutation enters both.


class _Turn:
    """A place in the queue for a key, for the length of a block."""

    __slots__ = ("_name", "_patience", "_queue", "_queues")

    def __init__(self, queues: dict[tuple[str, str, str], _Queue], name: tuple[str, str, str], patience: float) -> None:
        self._queues = queues
        self._name = name
        self._patience = patience

    async def __aenter__(self) -> None:
        """Raises IdempotencyKeyInUse where the others take too long."""
        self._queue = self._queues.get(self._name) or _Queue()
        self._queues[self._name] = self._queue
        self._queue.waiting += 1
        try:
            if self._queue.waiting == 1:  # no timer for the only one who wants the key, as is usual
                await self._queue.lock.acquire()
            else:
                async with asyncio.timeout(self._patience):
                    await self._queue.lock.acquire()
        except BaseException as error:
            self._leave()
            if isinstance(error, TimeoutError):
                raise IdempotencyKeyInUse from None
            raise

    async def __aexit__(self, *_: object) -> None:
        """Lets the next one in."""
        self._queue.lock.release()
        self._leave()

    def _leave(self) -> None:
        self._queue.waiting -= 1
        if not self._queue.waiting:
            del self._queues[self._name]


class _Claiming:
    """The time that a claim may take, for the length of a block."""

    __slots__ = ("_timeout",)

    def __init__(self, seconds: float | None) -> None:
        self._timeout = None if seconds is None else asyncio.timeout(seconds)

    async def __aenter__(self) -> None:
        """Begins to count."""
        if self._timeout is not None:
            await self._timeout.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Raises IdempotencyKeyInUse where the time was over, here or in PostgreSQL."""
        if self._timeout is not None:
            try:
                await self._timeout.__aexit__(kind, error, traceback)
            except TimeoutError:
                raise IdempotencyKeyInUse from None
        if isinstance(error, psycopg.errors.LockNotAvailable):
            raise IdempotencyKeyInUse from None
