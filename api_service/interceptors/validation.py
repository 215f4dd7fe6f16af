"""Parses the request and checks the rules that the contract declares on its fields (`buf.validate`)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import protovalidate
from google.protobuf.message import Message

from api_service.call import Call
from api_service.interceptors.steps import Handler
from api_service.interceptors.words import in_words
from api_service.methods import Method
from shared.errors import DeadlineExceeded, FieldsInvalid, MessageMalformed

#: Returns the next message of a call, or grpc.aio.EOF.
Read = Callable[[], Awaitable[Any]]

#: Seconds that a caller has for the one message that begins a stream of answers.
_PATIENCE = 15.0
#: The element of a batch that a path begins with.
_ELEMENT = re.compile(r"(requests|names)\[\d+\]")
#: Seconds between the last message of a stream and the end that the servicer sees.
_SETTLE = 0.01


class Validation:
    """Refuses what the annotations refuse, with the path of each field that is wrong."""

    def __init__(self) -> None:
        self._validator = protovalidate.Validator()

    def wrap(self, method: Method, following: Handler) -> Handler:
        """Returns a handler that reads bytes and hands a valid message on, or each of a stream as it is asked for."""
        parse = method.request.FromString
        violations = self._validator.collect_violations
        violations(method.request())  # compiles the rules now, not in the first call

        async def handle(read: Read, call: Call) -> Any:
            request = await (_soon(read) if method.server_streaming else read())
            if not isinstance(request, bytes):  # the end of what the caller sends
                raise MessageMalformed
            message = parse(request)
            found = violations(message)
            if found:
                raise _refusal(found)
            return await following(message, call)

        async def handle_stream(requests: AsyncIterator[bytes], call: Call) -> Any:
            async def valid() -> AsyncIterator[Message]:
                async for request in requests:
                    message = parse(request)
                    found = violations(message)
                    if found:
                        raise _refusal(found)
                    yield message
                # The messages of a caller that breaks off end as well. Its cancellation is on the way, and whoever took
                # what came for all there is would commit a half.
                await asyncio.sleep(_SETTLE)

            return await following(valid(), call)

        return handle_stream if method.client_streaming else handle


async def _soon(read: Read) -> Any:
    """Reads what begins a stream of answers, which has no deadline of ours."""
    try:
        async with asyncio.timeout(_PATIENCE):
            return await read()
    except TimeoutError:
        raise DeadlineExceeded from None


def _refusal(found: list[protovalidate.Violation]) -> FieldsInvalid:
    refusal = FieldsInvalid([(_path(violation), _said(violation)) for violation in found])
    field, _ = refusal.violations[0]
    if element := _ELEMENT.match(field):
        refusal.metadata = {"element": element[0]}
    return refusal


def _said(violation: protovalidate.Violation) -> str:
    """Returns what is wrong, for people."""
    said: str = violation.proto.message
    if violation.proto.rule_id == "string.pattern":
        said = in_words(str(violation.rule_value)) or said
    return f"the key {said}" if violation.proto.for_key else said


def _path(violation: protovalidate.Violation) -> str:
    """Returns `task.labels["key"]` and its like."""
    path = ""
    for element in violation.proto.field.elements if violation.proto.field else ():
        path += ("." if path else "") + element.field_name
        if element.subscript is not None:
            key = element.subscript.value
            path += f'["{key}"]' if isinstance(key, str) else f"[{key}]"
    return path
