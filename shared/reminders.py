"""Reminders of tasks: emails that wait for the time that a field names."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

#: The fields whose time is when somebody is reminded.
REMINDING = ("due_time", "remind_time")


def reminder_args(task_id: uuid.UUID, field: str, time: datetime) -> dict[str, Any]:
    """Returns the arguments of the email. A change of the task finds the job that waits by exactly these."""
    return {"template": "reminder", "task": str(task_id), "field": field, "time": time.isoformat()}
