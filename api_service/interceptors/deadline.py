"""Keeps the caller's deadline on our side of the wire: past it the query is cancelled and the connection goes back.

A stream of responses has the deadline that its caller gave and no other, since it may be meant to last; an upload has a
longer one.
"""

from __future__ import annotations

import asyncio
import math
import time
from typing import Any

from api_service.call import Call
from api_service.interceptors.steps import Handler
from api_service.methods import Method
from shared.errors import DeadlineExceeded

#: Seconds between two looks at the calls in flight: by so much a call may outlive its deadline.
_INTERVAL = 0.01


class Deadline:
    """Bounds every call by its deadline, by a default where it has none, and by a maximum in any case.

    One timer for all calls: one for each, made and cancelled, takes longer than all other steps together.
    """

    def __init__(self, default: float, maximum: float, upload: float) -> None:
        self._default = default
        self._maximum = maximum
        self._upload = upload
        self._ends: dict[asyncio.Task[Any], float] = {}
        self._late: set[asyncio.Task[Any]] = set()
        self._looking = False

    def wrap(self, method: Method, following: Handler) -> Handler:
        """Returns a handler that gives up in time."""
        if method.server_streaming:
            return _bounded(following, math.inf)
        if method.client_streaming:
            return _bounded(following, self._upload)

        async def handle(request: Any, call: Call) -> Any:
            task = asyncio.current_task()
            assert task is not None  # noqa: S101  a coroutine that runs has one
            now = time.monotonic()
            self._ends[task] = (
                now + self._default if call.deadline == math.inf else min(call.deadline, now + self._maximum)
            )
            if not self._looking:
                self._look()
            try:
                return await following(request, call)
            except asyncio.CancelledError as error:
                if task in self._late and task.uncancel() == 0:  # else the caller has cancelled as well
                    raise DeadlineExceeded from error
                raise
            finally:
                del self._ends[task]
                self._late.discard(task)

        return handle

    def _look(self) -> None:
        now = time.monotonic()
        for task, end in self._ends.items():
            if end <= now and task not in self._late:
                self._late.add(task)
                task.cancel()
        self._looking = bool(self._ends)
        if self._looking:
            asyncio.get_running_loop().call_later(_INTERVAL, self._look)


def _bounded(following: Handler, seconds: float) -> Handler:
    """Streams get a timer each: they are few, and last."""

    async def handle(request: Any, call: Call) -> Any:
        end = min(call.deadline, time.monotonic() + seconds)
        if end == math.inf:
            return await following(request, call)
        try:
            async with asyncio.timeout(end - time.monotonic()) as timer:
                return await following(request, call)
        except TimeoutError as error:
            if timer.expired():
                raise DeadlineExceeded from error
            raise

    return handle
