"""One call in flight: what the interceptors found out about it, for each other and for the servicers."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import Message

from api_service import origin
from api_service.audit import Actor
from api_service.methods import Method
from api_service.origin import Origin, Proxies
from api_service.principal import Principal
from shared.errors import IdempotencyKeyInvalid, TaskHubError, Unauthenticated, UsersOnly
from shared.states import PrincipalKind

MAX_KEY_LENGTH = 255

REQUEST_ID = "x-request-id"


@dataclass(slots=True, eq=False)
class Call:
    """Stands where grpc.aio hands a context to a servicer."""

    method: Method
    #: The caller's metadata. A key that came twice holds a tuple of its values.
    metadata: Mapping[str, Any]
    #: When the caller hangs up, by the monotonic clock; never for a caller without a deadline.
    deadline: float = math.inf
    #: Returns grpc's name of who has connected, and whose word on where the call comes from counts.
    peer: Callable[[], str] = lambda: origin.LOCAL
    proxies: Proxies = field(default_factory=Proxies)
    request_id: str = ""
    principal_or_none: Principal | None = None
    #: Goes out before the answer. Costs a write of its own: for what REST must see and does not know.
    initial_metadata: list[tuple[str, str]] = field(default_factory=list)

    @property
    def principal(self) -> Principal:
        """Who calls. Methods that are open to everybody have nobody to ask for."""
        if self.principal_or_none is None:
            raise Unauthenticated
        return self.principal_or_none

    @property
    def user(self) -> Principal:
        """Who calls, where that has to be a person. Raises UsersOnly for a service account."""
        if self.principal.kind is not PrincipalKind.USER:
            raise UsersOnly
        return self.principal

    @property
    def access_token(self) -> str:
        """The token that the caller has signed in with; empty without one."""
        header = self.metadata.get("authorization")
        return header.partition(" ")[2] if isinstance(header, str) else ""

    @property
    def address(self) -> str:
        """The caller's IP address; looked up when asked for, since most calls never are."""
        return self.proxies.address(self.peer(), self.metadata.get("x-forwarded-for"))

    @property
    def user_agent(self) -> str:
        """What the client says it is: at most 256 printable characters, empty if it says nothing."""
        return origin.user_agent(self.metadata.get("user-agent"))

    @property
    def actor(self) -> Actor:
        """Who calls, and from where, for the audit of accounts."""
        return Actor(self.principal, self.origin.context)

    @property
    def origin(self) -> Origin:
        """Where it comes from, for the audit and for what is counted by address."""
        return Origin(self.address, self.user_agent)

    def time_left(self) -> float:
        """Returns the seconds until the caller hangs up."""
        return self.deadline - time.monotonic()

    def idempotency_key(self) -> str | None:
        """Returns the caller's key, or None where there is none or the method takes none.

        Surrounding quotes are stripped: the header is a structured string (draft-ietf-httpapi-idempotency-key-header).
        """
        value = self.metadata.get("idempotency-key")
        if value is None or not self.method.takes_key:
            return None
        if not isinstance(value, str):
            raise IdempotencyKeyInvalid
        key = value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value
        if not 1 <= len(key) <= MAX_KEY_LENGTH or not key.isascii() or not key.isprintable():
            raise IdempotencyKeyInvalid
        return key


@dataclass(slots=True, eq=False)
class StreamCall(Call):
    """A call that is answered with a stream."""

    #: Hands bytes to the transport; returns once it has room for more.
    write: Callable[[bytes], Awaitable[None]] = field(kw_only=True)
    begin: Callable[[tuple[tuple[str, str], ...]], Awaitable[None]] = field(kw_only=True)
    #: How many responses went out.
    messages: int = 0
    #: Since when the caller has not taken what was sent, by the monotonic clock; None while nothing waits for it.
    waiting_since: float | None = None
    #: What a stream that has no end of its own says last, when the server ends it.
    farewell: Callable[[TaskHubError], Message] | None = None
    ended_by: TaskHubError | None = None
    task: asyncio.Task[Any] | None = field(default_factory=asyncio.current_task)

    async def send(self, response: Message | bytes) -> None:
        """Sends the next response, after the initial metadata, which says at once what logs call this request."""
        self.waiting_since = time.monotonic()
        if not self.messages:
            await self.begin((*self.initial_metadata, (REQUEST_ID, self.request_id)))
        await self.write(response if isinstance(response, bytes) else response.SerializeToString())
        self.messages += 1
        self.waiting_since = None

    def end(self, error: TaskHubError) -> None:
        """Ends the call from outside, whatever it waits for."""
        if self.ended_by is None and self.task is not None:
            self.ended_by = error
            self.task.cancel()
