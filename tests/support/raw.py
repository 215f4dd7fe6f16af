"""Any RPC of the contract as one call, with bytes on both sides."""

from __future__ import annotations

from typing import Any

import grpc

from api_service.methods import Method


class Raw:
    """Sends one request, as a stream of one where the method takes streams; of a stream of answers it reads the first.

    Then it hangs up: some of them have no end.
    """

    def __init__(self, channel: grpc.Channel, method: Method) -> None:
        self._channel: Any = channel
        self._method = method

    def __call__(self, request: bytes, **arguments: Any) -> bytes:
        """Returns the answer."""
        return self.with_call(request, **arguments)[0]

    def with_call(self, request: bytes, **arguments: Any) -> tuple[bytes, Any]:
        """Returns the answer, and grpc's call with its metadata."""
        path = self._method.path
        if self._method.server_streaming:
            call = self._channel.unary_stream(path)(request, **arguments)
            try:
                return next(call, b""), call
            finally:
                call.cancel()
        if self._method.client_streaming:
            answer, call = self._channel.stream_unary(path).with_call(iter([request]), **arguments)
        else:
            answer, call = self._channel.unary_unary(path).with_call(request, **arguments)
        return answer, call
