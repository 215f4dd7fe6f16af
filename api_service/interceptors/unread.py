"""How much of our memory clients may hold that call and do not read.

An answer that nobody takes waits inside grpc, which offers no way to end its call. So what waits is counted. A
connection with enough of it is refused before anything is done for a call; where an address, or all together, leave too
much, large answers are refused and small ones go on. What is never taken goes with its connection: one that does not
answer pings is closed within a minute, any other when its age and the grace are over.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

from shared.errors import AnswersUnread

#: Smaller answers are not counted: the streams that a connection may have open hold them within bounds.
LARGE = 16 * 1024
_ALL = ""
MIB = 1024 * 1024


class ReadingBounds(NamedTuple):
    """Bytes that may wait for one connection, for all of one address, and for all there are.

    The answer that reaches a bound may exceed it, so that the largest there is can be given. grpc holds about as much
    once more.
    """

    connection: int
    address: int
    all: int


CALLERS = ReadingBounds(8 * MIB, 24 * MIB, 64 * MIB)
#: The gateway reads what it is given, for everybody it stands for.
GATEWAY = ReadingBounds(64 * MIB, 64 * MIB, 64 * MIB)


class Unread:
    """Counts the large answers that were given and not taken, each port of each process for itself."""

    def __init__(self, bounds: ReadingBounds) -> None:
        self._bounds = bounds
        self._bytes: Counter[str] = Counter()

    def admit(self, context: Any) -> None:
        """Raises AnswersUnread on a connection with enough to read. Costs nothing while none has."""
        if self._bytes and self._bytes[_names(context)[0]] >= self._bounds.connection:
            raise AnswersUnread

    def add(self, size: int, context: Any) -> bool:
        """Counts an answer until grpc is rid of it; returns False in place of one that would be too much."""
        if size < LARGE:
            return True
        names = (*_names(context), _ALL)
        if any(self._bytes[name] >= bound for name, bound in zip(names, self._bounds, strict=True)):
            return False
        for name in names:
            self._bytes[name] += size

        def sent(_: Any) -> None:
            for name in names:
                self._bytes[name] -= size
                if not self._bytes[name]:
                    del self._bytes[name]

        context.add_done_callback(sent)
        return True


def _names(context: Any) -> tuple[str, str]:
    """Returns grpc's name of the connection, and without its port that of the address."""
    peer: str = context.peer()
    return peer, peer.rpartition(":")[0]
