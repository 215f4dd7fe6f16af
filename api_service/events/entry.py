"""One event on its way to whoever watches: read once, written as bytes once, and told apart by many."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, NamedTuple

from api_service.events.queries import EventRow
from shared.events import TASK_CREATED, TASK_PURGED
from shared.filters.match import Matcher, Subject

#: Filters whose verdict on an event is remembered: most streams ask for one of a few.
_REMEMBERED = 16


class Verdict(NamedTuple):
    """What a filter says of an event."""

    #: The task passed, before it or after it.
    passed: bool
    #: The task passed before it, and not after it.
    left: bool


class Entry:
    """An event that has a position. What few ask for is worked out when the first one asks."""

    def __init__(self, row: EventRow, encode: Callable[[EventRow], bytes]) -> None:
        assert row.position is not None  # noqa: S101  read by position
        self.position = row.position
        self.row = row
        self._encode = encode
        self._verdicts: dict[Matcher, Verdict] = {}

    @cached_property
    def payload(self) -> bytes:
        """The event as it goes out, the same bytes to everybody."""
        return self._encode(self.row)

    @cached_property
    def size(self) -> int:
        """About as many bytes as it takes, before and after it is encoded."""
        return 1000 + 2 * len(self.row.changes) + 4 * len(self.row.subject or "")

    @cached_property
    def readers(self) -> frozenset[uuid.UUID]:
        """The accounts that may know of it; whoever was taken off a task learns of that."""
        involved = {self.row.owner_id, self.row.assignee_id}
        if '"assignee"' in self.row.changes:
            involved |= {_id(name) for name in self._changes.get("assignee", ()) if name}
        return frozenset(id_ for id_ in involved if id_ is not None)

    @cached_property
    def taken_from(self) -> uuid.UUID | None:
        """The account that it has taken a task from."""
        before, _ = self._changes.get("assignee", (None, None)) if '"assignee"' in self.row.changes else (None, None)
        return _id(before) if before else None

    @cached_property
    def state(self) -> str | None:
        """The state that it brought a task into."""
        change = self._changes.get("state")
        return change[1] if change else None

    def verdict(self, matcher: Matcher) -> Verdict:
        """Returns what a filter says, of the task as the event found and left it: the same whenever it is asked."""
        known = self._verdicts.get(matcher)
        if known is None:
            known = self._judge(matcher)
            if len(self._verdicts) < _REMEMBERED:
                self._verdicts[matcher] = known
        return known

    def _judge(self, matcher: Matcher) -> Verdict:
        before, after = self._sides
        passed_before, passes = (side is not None and matcher(side) for side in (before, after))
        # An event of a release that kept no more of the task than what changed: better told than missed.
        unknown = before is None and after is None
        return Verdict(passed_before or passes or unknown, passed_before and not passes)

    @cached_property
    def _sides(self) -> tuple[Subject | None, Subject | None]:
        """The task as the event found and left it, as far as there was and is one."""
        if self.row.kind == TASK_CREATED:
            return None, subject({name: new for name, (_, new) in self._changes.items()} | {"owner": self.row.actor})
        if self.row.subject is None:
            return None, None
        after = json.loads(self.row.subject)
        before = subject(after | {name: old for name, (old, _) in self._changes.items()})
        return before, None if self.row.kind == TASK_PURGED else subject(after)

    @cached_property
    def _changes(self) -> dict[str, Any]:
        changes: dict[str, Any] = json.loads(self.row.changes)
        return changes


@dataclass(frozen=True, slots=True)
class Interest:
    """What somebody wants to know. What is empty excludes nothing."""

    #: Whose events; everybody's for those who read everything.
    reader: uuid.UUID | None
    collection: str
    resource: str = ""
    kinds: frozenset[str] = frozenset()
    states: frozenset[str] = frozenset()
    matcher: Matcher | None = None

    def concerns(self, entry: Entry) -> bool:
        """Whether whoever wants this has to hear of the event, or that it was the last one."""
        return self.covers(entry) or self.ends_with(entry)

    def ends_with(self, entry: Entry) -> bool:
        """Whether there is nothing more to know: the one resource is gone, or from the reader's sight."""
        row = entry.row
        if not self.resource or row.resource != self.resource:
            return False
        if row.kind == TASK_PURGED:
            return True
        # Sight may be lost already when an older event is read: the one that took it is still to come, and to be told.
        return self.reader not in (None, row.owner_id, row.assignee_id) and entry.taken_from == self.reader

    def covers(self, entry: Entry) -> bool:
        """Whether the event is for whoever wants this."""
        row = entry.row
        return (
            row.resource.startswith(self.collection)
            and (not self.resource or row.resource == self.resource)
            and (not self.kinds or row.kind in self.kinds)
            and (self.reader is None or self.reader in entry.readers)
            and (not self.states or entry.state in self.states)
            and (self.matcher is None or entry.verdict(self.matcher).passed)
        )


def subject(logged: Mapping[str, Any]) -> Subject:
    """Returns a task of the log as filters take it: times are kept as text there."""
    return {
        name: datetime.fromisoformat(value) if name.endswith("_time") and value is not None else value
        for name, value in logged.items()
    }


def _id(name: str) -> uuid.UUID:
    return uuid.UUID(name.rpartition("/")[2])
