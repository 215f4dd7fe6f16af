"""The append-only log of what changed. History, WatchTasks and webhooks all read this one log."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any

#: Where the sequencer says, once a batch, up to which position events can be read.
CHANNEL = "taskhub_events"

#: Takes the parameters of `new_event`. Written after the subject's row is locked, in the transaction of the change.
INSERT_EVENT = """
INSERT INTO events (kind, resource, actor, owner_id, changes, context)
VALUES (%(event_kind)s, %(event_resource)s, %(event_actor)s, %(event_owner_id)s, %(event_changes)s::jsonb,
        %(event_context)s::jsonb)
"""

TASK_CREATED = "task.created"
TASK_PURGED = "task.purged"
#: The actor of what nobody asked for.
SYSTEM = "system"

#: What the log keeps of a task beside a change of it, in the words of the contract: an expression over `tasks`. A new
#: task's changes say the same.
TASK_SUBJECT = """
jsonb_strip_nulls(jsonb_build_object(
    'title', title, 'state', state, 'priority', priority, 'labels', labels, 'due_time', due_time,
    'remind_time', remind_time, 'owner', owner_kind || '/' || owner_id, 'assignee', assignee_kind || '/' || assignee_id,
    'parent_task', 'tasks/' || parent_id, 'complete_time', complete_time, 'delete_time', delete_time
))
"""

#: Who did what to an account: the audit. Its events carry a context.
USER_CREATED = "user.created"
USER_UPDATED = "user.updated"
USER_DISABLED = "user.disabled"
USER_ENABLED = "user.enabled"
USER_ROLE_CHANGED = "user.role_changed"
USER_DELETED = "user.deleted"
USER_PASSWORD_CHANGED = "user.password_changed"  # noqa: S105  a name
USER_PASSWORD_REFUSED = "user.password_refused"  # noqa: S105  a name
USER_EMAIL_CHANGE_REQUESTED = "user.email_change_requested"
USER_EMAIL_CHANGED = "user.email_changed"
USER_LOCKED = "user.locked"
ADDRESS_LOCKED = "address.locked"
SERVICE_ACCOUNT_CREATED = "serviceaccount.created"
SERVICE_ACCOUNT_UPDATED = "serviceaccount.updated"
SERVICE_ACCOUNT_DELETED = "serviceaccount.deleted"
KEY_CREATED = "key.created"
KEY_REVOKED = "key.revoked"
KEY_EXCHANGED = "key.exchanged"  # at most once a minute for each key
KEY_REFUSED = "key.refused"  # the same, of a key that has ended
SESSION_CREATED = "session.created"
SESSION_REFUSED = "session.refused"
SESSION_REVOKED = "session.revoked"

#: What an operator did to the signing keys.
SIGNING_KEY_ROTATED = "signingkey.rotated"
SIGNING_KEY_REVOKED = "signingkey.revoked"

#: The actor of what a command did for whoever holds the database.
OPERATOR = "operator"
#: The actor of what nobody had signed in for, such as a failed sign-in.
ANYBODY = "anonymous"


def new_event(
    kind: str,
    resource: str,
    actor: str,
    *,
    owner_id: uuid.UUID | None,
    changes: dict[str, Any],
    context: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Returns the parameters of `INSERT_EVENT`.

    `changes` maps a field to its old and new value; never a secret. `context` says where the call came from, for the
    audit of accounts: `{"address": …, "user_agent": …}`.
    """
    return {
        "event_kind": kind,
        "event_resource": resource,
        "event_actor": actor,
        "event_owner_id": owner_id,
        "event_changes": json.dumps(changes),
        "event_context": json.dumps(context) if context is not None else None,
    }


def beginnings(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the changes of what is new: each field that has a value, and null before it."""
    return {field: [None, plain(value)] for field, value in fields.items() if value}


def plain(value: Any) -> Any:
    """Returns a value as the log keeps it."""
    return value.isoformat() if isinstance(value, datetime) else value
