"""Puts the steps around every method, once, when the server starts; a call then costs plain function calls.

The servicers of TaskHub get parsed messages and a `Call`, never grpc's context. Health and reflection pass untouched:
they are public, and libraries of their own.
"""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import grpc

from api_service.call import Call
from api_service.interceptors.errors import details, status_code
from api_service.interceptors.observation import REQUEST_ID
from api_service.interceptors.steps import Handler, Step
from api_service.methods import Method
from shared.errors import TaskHubError


class Chain(grpc.aio.ServerInterceptor):
    """Applies the steps, the first outermost, to every method of the contract."""

    def __init__(self, methods: Mapping[str, Method], steps: Sequence[Step]) -> None:
        self._methods = methods
        self._steps = steps
        self._wrapped: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}

    async def intercept_service(self, continuation: Any, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Returns the wrapped handler of the method that is called."""
        path = handler_call_details.method
        known = self._wrapped.get(path)
        if known is not None:
            return known
        handler = await continuation(handler_call_details)
        method = self._methods.get(path)
        if handler is None or method is None:
            return handler
        return self._wrapped.setdefault(path, self._wrap(method, handler))

    def _wrap(self, method: Method, handler: Any) -> grpc.RpcMethodHandler[Any, Any]:
        inner: Handler = handler.unary_unary
        for step in reversed(self._steps):
            inner = step.wrap(method, inner)
        # Without a deserializer the bytes reach us as they came: what does not parse is the caller's fault, where the
        # library would answer INTERNAL.
        return grpc.unary_unary_rpc_method_handler(_adapt(method, inner))


def _adapt(method: Method, inner: Handler) -> Callable[[bytes, Any], Awaitable[bytes]]:
    async def handle(request: bytes, context: Any) -> bytes:
        remaining = context.time_remaining()
        deadline = math.inf if remaining is None else time.monotonic() + remaining
        call = Call(method, _metadata(context), deadline)
        try:
            response = await inner(request, call)
        except TaskHubError as error:
            trailing = (*details(error), (REQUEST_ID, call.request_id))
            return await context.abort(status_code(error), error.message, trailing)  # type: ignore[no-any-return]
        if call.initial_metadata:
            await context.send_initial_metadata(tuple(call.initial_metadata))
        # At the end, where it travels with the status: a write of its own costs 90 µs. REST has Envoy's.
        context.set_trailing_metadata(((REQUEST_ID, call.request_id),))
        return response if isinstance(response, bytes) else response.SerializeToString()

    return handle


def _metadata(context: Any) -> dict[str, Any]:
    """Returns the caller's metadata by key; a key that came twice keeps all of its values, as a tuple."""
    found: dict[str, Any] = {}
    for key, value in context.invocation_metadata() or ():
        if key in found:
            before = found[key]
            found[key] = (*before, value) if isinstance(before, tuple) else (before, value)
        else:
            found[key] = value
    return found
