"""WatchTasks: one caller's view of the log, as it grows."""

from __future__ import annotations

import hmac
import time
from collections.abc import AsyncGenerator

from google.protobuf.message import Message
from taskhub.v1 import task_pb2, task_service_pb2

from api_service.call import Call, StreamCall
from api_service.database import Database
from api_service.events.entry import Interest
from api_service.events.feed import Feed
from api_service.events.queries import EventRow
from api_service.interceptors.errors import to_status
from api_service.tasks import service
from api_service.tasks.events import to_event
from shared.crypto import Secrets, decode, encode
from shared.errors import ResumeTokenInvalid, TaskHubError
from shared.filters.match import task_matcher
from shared.ids import parse_name

_DEFAULT_INTERVAL = 15.0
_MAC = 16
_LENGTH = _MAC + 8

Request = task_service_pb2.WatchTasksRequest
Response = task_service_pb2.WatchTasksResponse

_LEFT = Response(left=True).SerializeToString()


def encode_event(row: EventRow) -> bytes:
    """Returns the event as a response without its resume token, which is each stream's own."""
    return Response(event=to_event(row)).SerializeToString() if row.resource.startswith("tasks/") else b""


class TaskWatcher:
    """Answers with what happens to the tasks that a caller may see, and with a sign of life when nothing does."""

    def __init__(self, database: Database, feed: Feed, secrets: Secrets) -> None:
        self._database = database
        self._feed = feed
        self._secrets = secrets

    async def watch(self, request: Request, call: StreamCall) -> AsyncGenerator[Message | bytes, None]:
        """Yields responses until the call ends."""
        interest = _interest(request, call)
        tokens = ResumeTokens(self._secrets, call, request)
        position = tokens.open(request.resume_token) if request.resume_token else None
        interval = request.heartbeat_interval.ToTimedelta().total_seconds() or _DEFAULT_INTERVAL
        if request.task:
            await self._check(request, call)
        async with self._feed.subscribe(interest, position, interval, call.end) as subscription:
            call.farewell = _farewell
            yield _heartbeat() + tokens.field(subscription.position)
            while True:
                entries = await subscription.take()
                for entry in entries:
                    if interest.covers(entry):
                        # Fields of one message may come one after the other: the event is encoded once for all.
                        left = interest.matcher is not None and entry.verdict(interest.matcher).left
                        yield entry.payload + tokens.field(entry.position) + (_LEFT if left else b"")
                    if interest.ends_with(entry):
                        await self._check(request, call)  # it may have come back to the caller since
                if not entries:
                    yield _heartbeat() + tokens.field(subscription.position)

    async def _check(self, request: Request, call: StreamCall) -> None:
        """Raises NotFound where the caller may not see the task that is watched."""
        async with self._database.connection() as connection:
            await service.get(connection, call.principal, parse_name("tasks", request.task))


def _interest(request: Request, call: Call) -> Interest:
    return Interest(
        reader=None if call.principal.holds("tasks.read_all") else call.principal.id,
        collection="tasks/",
        resource=request.task,
        kinds=frozenset(request.kinds),
        states=frozenset(task_pb2.Task.State.Name(state) for state in request.states),
        matcher=task_matcher(request.filter, call.principal.name),
    )


def _heartbeat() -> bytes:
    response = Response()
    response.heartbeat.time.FromNanoseconds(time.time_ns())
    return response.SerializeToString()


def _farewell(error: TaskHubError) -> Message:
    return Response(end=Response.End(status=to_status(error)))


class ResumeTokens:
    """Makes and opens the tokens of one stream: a position, signed for the caller and what it asks for."""

    def __init__(self, secrets: Secrets, call: Call, request: Request) -> None:
        self._secrets = secrets
        arguments = Request(task=request.task, kinds=request.kinds, states=request.states, filter=request.filter)
        self._scope = b"\0".join(
            (call.method.path.encode(), call.principal.name.encode(), arguments.SerializeToString(deterministic=True))
        )

    def open(self, token: str) -> int:
        """Returns the position in a token. Raises ResumeTokenInvalid for any that was not made here."""
        raw = decode(token)
        if raw is None or len(raw) != _LENGTH or not hmac.compare_digest(self._mac(raw[_MAC:]), raw[:_MAC]):
            raise ResumeTokenInvalid
        return int.from_bytes(raw[_MAC:])

    def field(self, position: int) -> bytes:
        """Returns the field `resume_token` of a response, encoded."""
        cursor = position.to_bytes(8)
        return Response(resume_token=encode(self._mac(cursor) + cursor)).SerializeToString()

    def _mac(self, cursor: bytes) -> bytes:
        return self._secrets.page_mac(cursor + self._scope)
