"""The emails that a change of a task causes: jobs that are written, moved and ended in its transaction.

A reminder names the time that it was made for. One that the change comes too late for, because it is being sent, looks
at the task once more and sends nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from api_service.principal import Principal
from api_service.tasks.task import Task
from shared.kinds import EMAIL
from shared.outbox import new_job
from shared.reminders import REMINDING, reminder_args
from shared.states import PrincipalKind
from shared.traces import traceparent


def notices(principal: Principal, before: Task | None, after: Task, now: datetime) -> Iterator[dict[str, Any]]:
    """Yields what becomes of the notices of a task, as `queries` takes them."""
    if _newly_assigned(principal, before, after):
        yield _notice(after, args={"template": "assigned", "task": str(after.id), "user": str(after.assignee_id)})
    for field in REMINDING:
        old, new = _reminder(before, field), _reminder(after, field)
        if old != new:
            time = getattr(after, field)
            # A time that has passed reminds nobody.
            ahead = new if new is not None and time > now else None
            if old is not None or ahead is not None:
                yield _notice(after, args=ahead, schedule_time=time if ahead else None, replaces=old)


def _newly_assigned(principal: Principal, before: Task | None, after: Task) -> bool:
    if after.assignee_kind != PrincipalKind.USER or after.assignee_id == principal.id:
        return False
    return before is None or before.assignee_id != after.assignee_id


def _reminder(task: Task | None, field: str) -> dict[str, Any] | None:
    """Returns the arguments of the reminder that the task wants at `field`; none where nobody is to be reminded."""
    time = task and getattr(task, field)
    if task is None or time is None or not task.live or not task.open:
        return None
    if (task.assignee_kind or task.owner_kind) != PrincipalKind.USER:
        return None
    return reminder_args(task.id, field, time)


def _notice(
    task: Task,
    *,
    args: dict[str, Any] | None,
    schedule_time: datetime | None = None,
    replaces: dict[str, Any] | None = None,
) -> dict[str, Any]:
    job = new_job(
        EMAIL,
        args or {},
        owner_id=task.owner_id,
        owner_kind=task.owner_kind,
        task_id=task.id,
        traceparent=traceparent(),
    )
    if args is None:
        job |= {"job_id": None, "job_args": None}
    return {**job, "schedule_time": schedule_time, "replaces": replaces}
