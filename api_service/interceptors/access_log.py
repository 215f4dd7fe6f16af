"""One JSON line a call. Written in bunches: a system call for each would cost more than the query."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NamedTuple, TextIO

from api_service.call import Call, StreamCall


class Seen(NamedTuple):
    """How a call went."""

    call: Call
    code: str
    reason: str
    seconds: float
    #: When it ended, in seconds since 1970.
    time: float


class AccessLog:
    """Writes the lines. Neither a request nor an answer is ever logged."""

    def __init__(self, *, enabled: bool, stream: TextIO = sys.stderr) -> None:
        self._enabled = enabled
        self._stream = stream

    def write(self, calls: Iterable[Seen]) -> None:
        """Writes a line for each call."""
        if self._enabled:
            with contextlib.suppress(OSError):  # a full disk is no caller's business
                self._stream.writelines(map(_line, calls))
                self._stream.flush()


def _line(seen: Seen) -> str:
    # Put together by hand: `json` takes three times as long. Only the request id can hold what must be escaped.
    call, code, reason, seconds, time = seen
    principal = call.principal_or_none
    messages = f' "messages": {call.messages},' if isinstance(call, StreamCall) else ""
    return (
        f'{{"event": "call", "level": "info", "timestamp": "{datetime.fromtimestamp(time, UTC).isoformat()}",'
        f' "service": "api", "method": "{call.method.path}", "code": "{code}", "reason": "{reason}",'
        f' "ms": {seconds * 1000:.3f},{messages} "request_id": {json.dumps(call.request_id)},'
        f' "principal": "{principal.name if principal else ""}"}}\n'
    )
