"""Streams of responses, as calls like any other: what a servicer yields goes out, and its end is the call's end."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

from google.protobuf.message import Message

from api_service.call import StreamCall
from api_service.interceptors.steps import Handler

#: How a servicer answers with a stream: an asynchronous generator of messages, or of their bytes.
Generate = Callable[[Any, StreamCall], AsyncGenerator[Message | bytes, None]]


def sending(generate: Generate) -> Handler:
    """Returns a handler that sends what `generate` yields, and asks for the next once the transport has taken it.

    However the call ends, the generator is closed before: what it holds is given back at once.
    """

    async def handle(request: Any, call: Any) -> None:
        async with aclosing(generate(request, call)) as responses:
            async for response in responses:
                await call.send(response)

    return handle
