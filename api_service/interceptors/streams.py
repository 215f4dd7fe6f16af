"""Streams of responses, as calls like any other: what a servicer yields goes out, and its end is the call's end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

import grpc
from google.protobuf.message import Message

from api_service.auth.tokens import TokenVerifier
from api_service.call import StreamCall
from api_service.interceptors.errors import translate
from api_service.interceptors.steps import Handler
from api_service.methods import Method
from api_service.metrics import STREAMS
from shared.errors import CallerGone, Draining, StreamStalled, TaskHubError, TokenInvalid

#: How a servicer answers with a stream: an asynchronous generator of messages, or of their bytes.
Generate = Callable[[Any, StreamCall], AsyncGenerator[Message | bytes, None]]

#: Seconds between two looks at the streams that are open; after which a response that nobody takes ends one; for which
#: the last response may take to go out.
_INTERVAL, STALLED, _FAREWELL = 1.0, 10.0, 1.0


def sending(method: Method, generate: Generate) -> Handler:
    """Returns a handler that sends what `generate` yields, and asks for the next once the transport has taken it.

    However the call ends, the generator is closed before: what it holds is given back at once.
    """

    async def handle(request: Any, call: Any) -> None:
        try:
            async with aclosing(generate(request, call)) as responses:
                async for response in responses:
                    await call.send(response)
        except asyncio.CancelledError:
            if call.ended_by is None or call.task.uncancel():  # the caller has hung up, or has as well
                raise
            error = call.ended_by
        except TaskHubError as refused:
            error = refused
        except grpc.aio.BaseError:  # before the cancellation that tells of it
            raise CallerGone from None
        except Exception as failed:  # noqa: BLE001  translated, and logged where nobody foresaw it
            error = translate(failed, method)
        else:
            return
        await _say_farewell(call, error)
        raise error

    return handle


async def _say_farewell(call: StreamCall, error: TaskHubError) -> None:
    """Tells those over REST, who see no status after the first response. Whoever takes none is not told."""
    if call.farewell is None or not call.messages or call.waiting_since is not None:
        return
    try:
        async with asyncio.timeout(_FAREWELL):
            await call.send(call.farewell(error))
    except (TimeoutError, grpc.aio.BaseError):
        return


class Streams:
    """Looks after the streams that are open: whether their callers may still read them, and do.

    A token is checked when a call begins; here again each second, as long as it lasts.
    """

    def __init__(self, verifier: TokenVerifier) -> None:
        self._verifier = verifier
        self._open: set[StreamCall] = set()
        self._draining = False

    def wrap(self, method: Method, following: Handler) -> Handler:
        """Returns a handler that knows when a stream is open; other calls pass untouched."""
        if not method.server_streaming:
            return following

        async def handle(request: Any, call: Any) -> None:
            self._open.add(call)
            STREAMS.inc()
            try:
                await following(request, call)
            finally:
                self._open.discard(call)
                STREAMS.dec()

        return handle

    async def run(self) -> None:
        """Looks once a second until it is cancelled."""
        while True:
            await asyncio.sleep(_INTERVAL)
            await self.run_once()

    async def run_once(self) -> None:
        """Ends the streams whose token is over, those whose caller does not read, and in the end all that have none."""
        if self._draining:
            self.drain()
        stalled = time.monotonic() - STALLED
        for call in list(self._open):
            if call.waiting_since is not None and call.waiting_since < stalled:
                call.end(StreamStalled())
            elif call.principal_or_none is not None:
                try:
                    await self._verifier.verify(call.access_token)
                except TokenInvalid as error:
                    call.end(error)

    def drain(self) -> None:
        """Ends those that have no end of their own, also if they are only about to begin; the others may finish."""
        self._draining = True
        for call in self._open:
            if call.farewell is not None:
                call.end(Draining())
