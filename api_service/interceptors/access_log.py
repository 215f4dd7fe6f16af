"""One JSON line a call. Written in bunches: formatting and a system call for each would cost more than the query."""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import UTC, datetime
from typing import TextIO

from api_service.call import Call

_INTERVAL = 0.1
_BUNCH = 500


class AccessLog:
    """Collects lines and writes them ten times a second, or sooner when many came."""

    def __init__(self, *, enabled: bool, stream: TextIO = sys.stderr) -> None:
        self._enabled = enabled
        self._stream = stream
        self._lines: list[str] = []

    def write(self, call: Call, code: str, reason: str, seconds: float) -> None:
        """Notes the outcome of a call. Neither the request nor the answer is ever logged."""
        if not self._enabled:
            return
        principal = call.principal_or_none
        # Put together by hand: `json` takes three times as long. Only the request id can hold what must be escaped.
        self._lines.append(
            f'{{"event": "call", "level": "info", "timestamp": "{datetime.now(UTC).isoformat()}", "service": "api",'
            f' "method": "{call.method.path}", "code": "{code}", "reason": "{reason}", "ms": {seconds * 1000:.3f},'
            f' "request_id": {json.dumps(call.request_id)}, "principal": "{principal.name if principal else ""}"}}'
        )
        if len(self._lines) >= _BUNCH:
            self.flush()

    def flush(self) -> None:
        """Writes what was collected."""
        if self._lines:
            lines, self._lines = self._lines, []
            self._stream.write("\n".join(lines) + "\n")
            self._stream.flush()

    async def run(self) -> None:
        """Flushes until it is cancelled."""
        while True:
            await asyncio.sleep(_INTERVAL)
            self.flush()
