"""How much of our memory a client may hold that calls and does not read."""

from __future__ import annotations

from collections import Counter
from typing import Any

from shared.errors import AnswersUnread

#: Smaller answers are not counted: the streams that a connection may have open hold them within bounds.
_LARGE = 16 * 1024
_MAX_BYTES = 32 * 1024 * 1024


class Unread:
    """Counts the large answers that each connection has been given and has not taken, all processes for themselves."""

    def __init__(self) -> None:
        self._bytes: Counter[str] = Counter()

    def add(self, answer: bytes, context: Any) -> None:
        """Counts an answer until grpc is rid of it. Raises AnswersUnread in place of one that would be too much."""
        size = len(answer)
        if size < _LARGE:
            return
        peer = context.peer()
        if self._bytes[peer] + size > _MAX_BYTES:
            raise AnswersUnread
        self._bytes[peer] += size

        def sent(_: Any) -> None:
            self._bytes[peer] -= size
            if not self._bytes[peer]:
                del self._bytes[peer]

        context.add_done_callback(sent)
