"""What a step of the chain looks like."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from api_service.call import Call
from api_service.methods import Method

#: Takes a request, as bytes outside and as a message inside of `Validation`, and answers with a message or its bytes.
Handler = Callable[[Any, Call], Awaitable[Any]]


class Step(Protocol):
    """One interceptor."""

    def wrap(self, method: Method, following: Handler) -> Handler:
        """Returns a handler that does this step's part around `following`; called once a method."""
        ...
