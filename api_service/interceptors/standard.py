"""grpc.health.v1 and server reflection: open to everybody, and so bounded in number, in time and in what they take.

They stand outside the contract: no access rule, no token, no line in the access log.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from typing import Any

import grpc
import structlog
from google.protobuf.message import DecodeError
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_reflection.v1alpha import reflection
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest

from api_service.health import Health
from api_service.interceptors.errors import details, status_code
from shared.errors import DeadlineExceeded, MessageMalformed, NotFound, StreamsExhausted, TaskHubError

log = structlog.get_logger()

HEALTH = "grpc.health.v1.Health"
#: Both have the same messages; older clients know the first alone.
REFLECTION = (reflection.SERVICE_NAME, "grpc.reflection.v1.ServerReflection")

#: Seconds that a caller has for a message, or for taking one.
_PATIENCE = 30.0
#: Streams of these services that a process has open at a time.
_MAX_STREAMS = 500
#: Questions on one stream of reflection.
_MAX_QUESTIONS = 1000

Serve = Callable[[Any], Awaitable[None]]


class Standard(grpc.GenericRpcHandler):
    """Finds the handlers of these services for grpc."""

    def __init__(self, health: Health, services: Sequence[str], *, reflect: bool) -> None:
        self._health = health
        self._streams = 0
        self._handlers = {f"/{HEALTH}/Check": _handler(self._check), f"/{HEALTH}/Watch": _handler(self._watch)}
        if reflect:
            self._reflection = reflection.aio.ReflectionServicer([*services, HEALTH, reflection.SERVICE_NAME])
            self._handlers |= {f"/{name}/ServerReflectionInfo": _handler(self._reflect) for name in REFLECTION}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Returns the handler of the method that is called, if it is one of these."""
        return self._handlers.get(handler_call_details.method)

    async def _check(self, context: Any) -> None:
        status = self._health.status(await _asked_for(context))
        if status is None:
            raise NotFound
        await _write(context, HealthCheckResponse(status=status))

    async def _watch(self, context: Any) -> None:
        with self._stream():
            service = await _asked_for(context)
            async with aclosing(self._health.watch(service)) as statuses:
                async for status in statuses:
                    await _write(context, HealthCheckResponse(status=status))

    async def _reflect(self, context: Any) -> None:
        with self._stream():
            answers: Any = self._reflection.ServerReflectionInfo(_questions(context), None)
            async for response in answers:
                await _write(context, response)

    @contextmanager
    def _stream(self) -> Iterator[None]:
        if self._streams >= _MAX_STREAMS:
            raise StreamsExhausted
        self._streams += 1
        try:
            yield
        finally:
            self._streams -= 1


def _handler(serve: Serve) -> grpc.RpcMethodHandler[Any, Any]:
    """Returns a handler that says of every failure what the API says of it."""

    async def handle(_: Any, context: Any) -> None:
        try:
            await serve(context)
        except TaskHubError as error:
            await context.abort(status_code(error), error.message, details(error))
        except Exception:
            if context.cancelled() or context.done():
                raise
            log.exception("call_failed_unexpectedly", method=serve.__name__)
            ours = TaskHubError()
            await context.abort(status_code(ours), ours.message, details(ours))

    return grpc.stream_stream_rpc_method_handler(handle)


async def _asked_for(context: Any) -> str:
    request = await _read(context, HealthCheckRequest)
    if request is None:
        raise MessageMalformed
    return str(request.service)


async def _questions(context: Any) -> AsyncIterator[ServerReflectionRequest]:
    for _ in range(_MAX_QUESTIONS):
        request = await _read(context, ServerReflectionRequest)
        if request is None:
            return
        yield request


async def _read(context: Any, kind: Any) -> Any:
    """Returns the next message, or None after the last."""
    try:
        async with asyncio.timeout(_PATIENCE):
            request = await context.read()
    except TimeoutError:
        raise DeadlineExceeded from None
    if not isinstance(request, bytes):
        return None
    try:
        return kind.FromString(request)
    except DecodeError:
        raise MessageMalformed from None


async def _write(context: Any, message: Any) -> None:
    """Sends a message to somebody who takes it."""
    try:
        async with asyncio.timeout(_PATIENCE):
            await context.write(message.SerializeToString())
    except TimeoutError:
        raise DeadlineExceeded from None
