"""Keeps the caller's deadline on our side of the wire: past it the query is cancelled and the connection goes back."""

from __future__ import annotations

import asyncio
import math
from typing import Any

from api_service.call import Call
from api_service.interceptors.steps import Handler
from api_service.methods import Method
from shared.errors import DeadlineExceeded


class Deadline:
    """Bounds every call by its deadline, by a default where it has none, and by a maximum in any case."""

    def __init__(self, default: float, maximum: float) -> None:
        self._default = default
        self._maximum = maximum

    def wrap(self, method: Method, following: Handler) -> Handler:  # noqa: ARG002  the same for every method
        """Returns a handler that gives up in time."""

        async def handle(request: Any, call: Call) -> Any:
            seconds = self._default if call.deadline == math.inf else min(call.time_left(), self._maximum)
            try:
                async with asyncio.timeout(seconds):
                    return await following(request, call)
            except TimeoutError as error:
                raise DeadlineExceeded from error

        return handle
