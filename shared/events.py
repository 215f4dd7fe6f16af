"""The append-only log of what changed. History, WatchTasks and webhooks all read this one log."""

from __future__ import annotations

import json
import uuid
from typing import Any

#: Where the sequencer says, once a batch, up to which position events can be read.
CHANNEL = "taskhub_events"

#: Takes the parameters of `new_event`. Written after the subject's row is locked, in the transaction of the change.
INSERT_EVENT = """
INSERT INTO events (kind, resource, actor, owner_id, changes)
VALUES (%(event_kind)s, %(event_resource)s, %(event_actor)s, %(event_owner_id)s, %(event_changes)s::jsonb)
"""


def new_event(
    kind: str, resource: str, actor: str, *, owner_id: uuid.UUID | None, changes: dict[str, Any]
) -> dict[str, Any]:
    """Returns the parameters of `INSERT_EVENT`. `changes` maps a field to its old and new value; never a secret."""
    return {
        "event_kind": kind,
        "event_resource": resource,
        "event_actor": actor,
        "event_owner_id": owner_id,
        "event_changes": json.dumps(changes),
    }
