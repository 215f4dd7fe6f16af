"""Which events end a stream of one task."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest

from api_service.events.entry import Entry, Interest
from api_service.events.queries import EventRow

OWNER, READER, OTHER = (uuid.UUID(int=number) for number in range(1, 4))
TASK = f"tasks/{uuid.UUID(int=9)}"


def entry(kind: str, before: uuid.UUID | None, after: uuid.UUID | None, now: uuid.UUID | None) -> Entry:
    """Makes an event that changed the assignee; `now` is whose the task is when the event is read."""
    names = [id_ and f"users/{id_}" for id_ in (before, after)]
    changes: dict[str, Any] = {"assignee": names} if before != after else {"title": ["a", "b"]}
    row = EventRow(**dict.fromkeys(EventRow._fields))  # type: ignore[arg-type]
    return Entry(
        row._replace(
            id=1, position=1, kind=kind, resource=TASK, actor=f"users/{OWNER}", owner_id=OWNER, assignee_id=now,
            changes=json.dumps(changes), create_time=datetime.now(UTC),
        ),
        lambda _: b"",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("event", "ends"),
    [
        (entry("task.created", None, READER, READER), False),
        # It is lost by now, by an event that is still to come.
        (entry("task.created", None, READER, None), False),
        (entry("task.updated", OTHER, READER, OTHER), False),
        (entry("task.updated", READER, READER, None), False),
        (entry("task.updated", READER, None, None), True),
        (entry("task.updated", READER, OTHER, OTHER), True),
        # Lost and back again.
        (entry("task.updated", READER, None, READER), False),
        (entry("task.purged", None, None, None), True),
    ],
)
def test_a_stream_of_one_task_ends_with_the_change_that_takes_it_away(event: Entry, *, ends: bool) -> None:
    interest = Interest(reader=READER, collection="tasks/", resource=TASK)
    assert interest.ends_with(event) is ends
    assert not ends or event.row.kind == "task.purged" or interest.covers(event)
