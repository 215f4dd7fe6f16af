"""What a step of the chain looks like.

A stream is a call like any other, only longer: its responses go out through `StreamCall.send`, and a stream of requests
is an asynchronous iterator in the place of the request. So one shape of handler does for all of them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from api_service.call import Call
from api_service.methods import Method

#: Takes a request, which is outside of `Validation` what reads its bytes and inside a message, and answers with a
#: message or its bytes; with nothing, once a stream of responses is over.
Handler = Callable[[Any, Call], Awaitable[Any]]


class Step(Protocol):
    """One interceptor."""

    def wrap(self, method: Method, following: Handler) -> Handler:
        """Returns a handler that does this step's part around `following`; called once a method."""
        ...
