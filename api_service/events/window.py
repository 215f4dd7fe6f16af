"""The newest part of the log, in memory: every stream reads from it at its own pace, and none has a copy."""

from __future__ import annotations

from bisect import bisect_right
from operator import attrgetter

from api_service.events.entry import Entry

#: Beyond either the oldest go. A stream that still wants them reads them from the database.
MAX_ENTRIES = 4096
MAX_BYTES = 8 * 1024 * 1024

_POSITION = attrgetter("position")


class Window:
    """All events after position `floor`, up to position `head`."""

    def __init__(self, position: int = 0) -> None:
        self.floor = position
        self.head = position
        self._entries: list[Entry] = []
        self._bytes = 0

    def append(self, entry: Entry) -> None:
        """Adds the next event."""
        self._entries.append(entry)
        self._bytes += entry.size
        self.head = entry.position
        if len(self._entries) > MAX_ENTRIES or self._bytes > MAX_BYTES:
            self._trim()

    def holds(self, position: int) -> bool:
        """Whether every event after `position` is here, as far as there are any."""
        return position >= self.floor

    def after(self, position: int, limit: int) -> list[Entry]:
        """Returns up to `limit` of the events after a position that it holds, in their order."""
        if position >= self.head:
            return []
        first = bisect_right(self._entries, position, key=_POSITION)
        return self._entries[first : first + limit]

    def _trim(self) -> None:
        gone = self._entries[: max(1, len(self._entries) // 4)]
        del self._entries[: len(gone)]
        self._bytes -= sum(entry.size for entry in gone)
        self.floor = gone[-1].position
