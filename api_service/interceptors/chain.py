"""Puts the steps around every method, once, when the server starts; a call then costs plain function calls.

The servicers of TaskHub get parsed messages and a `Call`, never grpc's context. Health and reflection stand outside, in
`standard.py`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import grpc

from api_service.call import REQUEST_ID, Call, StreamCall
from api_service.interceptors.errors import details, forget_frames, message, status_code
from api_service.interceptors.steps import Handler, Step
from api_service.interceptors.streams import sending
from api_service.interceptors.unread import CALLERS, ReadingBounds, Unread
from api_service.methods import Method
from api_service.origin import Proxies
from shared.errors import AnswersUnread, TaskHubError


class Port(grpc.GenericRpcHandler):
    """What one port serves. It finds handlers for grpc, so that no interceptor of grpc's has to run in every call."""

    def __init__(self, handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]]) -> None:
        self._handlers = handlers

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Returns the wrapped handler of the method that is called, if it is one of the contract."""
        return self._handlers.get(handler_call_details.method)


class Chain:
    """Takes the servicers in place of grpc's server, and applies the steps, the first outermost, to each method."""

    def __init__(self, methods: Mapping[str, Method], steps: Sequence[Step]) -> None:
        self._methods = methods
        self._steps = steps
        self._handlers: dict[str, Handler] = {}

    def port(self, proxies: Proxies, bounds: ReadingBounds = CALLERS) -> Port:
        """Returns what a port serves, once all servicers are there. `proxies` are believed about the caller's address.

        `bounds` say how much may wait there for callers who do not read.

        Without a deserializer the bytes reach us as they came: what does not parse is the caller's fault, where the
        library would answer INTERNAL. And to grpc every method takes a stream, so that a call begins before its message
        is there: otherwise one that never sends it would have no deadline of ours.
        """
        unread = Unread(bounds)
        return Port(
            {path: _handler(self._methods[path], inner, proxies, unread) for path, inner in self._handlers.items()}
        )

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Wraps the methods of a servicer; the generated `add_…_to_server` calls this."""
        for name, handler in handlers.items():
            path = f"/{service}/{name}"
            self._handlers[path] = self._wrap(self._methods[path], handler)

    def add_generic_rpc_handlers(self, handlers: Sequence[Any]) -> None:
        """Ignores what the generated code offers a second time, in another form."""

    def _wrap(self, method: Method, handler: Any) -> Handler:
        inner = _innermost(method, handler)
        for step in reversed(self._steps):
            inner = step.wrap(method, inner)
        return inner


def _innermost(method: Method, handler: Any) -> Handler:
    match method.client_streaming, method.server_streaming:
        case False, False:
            return handler.unary_unary  # type: ignore[no-any-return]
        case True, False:
            return handler.stream_unary  # type: ignore[no-any-return]
        case False, True:
            return sending(method, handler.unary_stream)
        case _:
            raise NotImplementedError(f"{method.path} streams both ways, which REST cannot")


def _handler(method: Method, inner: Handler, proxies: Proxies, unread: Unread) -> grpc.RpcMethodHandler[Any, Any]:
    if method.server_streaming:
        return grpc.stream_stream_rpc_method_handler(_adapt_stream(method, inner, proxies))
    return grpc.stream_unary_rpc_method_handler(_adapt(method, inner, proxies, unread))


def _adapt(method: Method, inner: Handler, proxies: Proxies, unread: Unread) -> Callable[[Any, Any], Awaitable[bytes]]:
    async def handle(requests: Any, context: Any) -> bytes:
        remaining = context.time_remaining()
        deadline = math.inf if remaining is None else time.monotonic() + remaining
        call = Call(method, _metadata(context), deadline, context.peer, proxies)
        try:
            unread.admit(context)
            response = await inner(requests if method.client_streaming else context.read, call)
            answer: bytes = response if isinstance(response, bytes) else response.SerializeToString()
            if not unread.add(len(answer), context):
                response, answer = None, b""
                raise AnswersUnread
        except TaskHubError as error:
            forget_frames(error)
            trailing = (*details(error), (REQUEST_ID, call.request_id))
            return await context.abort(status_code(error), message(error), trailing)  # type: ignore[no-any-return]
        if call.initial_metadata:
            await context.send_initial_metadata(tuple(call.initial_metadata))
        # At the end, where it travels with the status: a write of its own costs 90 µs. REST has Envoy's.
        context.set_trailing_metadata(((REQUEST_ID, call.request_id),))
        return answer

    return handle


def _adapt_stream(method: Method, inner: Handler, proxies: Proxies) -> Callable[[Any, Any], Awaitable[None]]:
    async def handle(_: Any, context: Any) -> None:
        remaining = context.time_remaining()
        deadline = math.inf if remaining is None else time.monotonic() + remaining
        call = StreamCall(
            method,
            _metadata(context),
            deadline,
            context.peer,
            proxies,
            write=context.write,
            begin=context.send_initial_metadata,
        )
        try:
            await inner(context.read, call)
        except TaskHubError as error:
            forget_frames(error)
            trailing = (*details(error), (REQUEST_ID, call.request_id))
            await context.abort(status_code(error), message(error), trailing)
        context.set_trailing_metadata(((REQUEST_ID, call.request_id),))

    return handle


def _metadata(context: Any) -> dict[str, Any]:
    """Returns the caller's metadata by key; a key that came twice keeps all of its values, as a tuple."""
    pairs = context.invocation_metadata() or ()
    found: dict[str, Any] = dict(pairs)
    if len(found) != len(pairs):
        for key in found:
            values = tuple(value for name, value in pairs if name == key)
            found[key] = values if len(values) > 1 else values[0]
    return found
