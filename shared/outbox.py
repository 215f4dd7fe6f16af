"""Enqueueing: a job is a row that commits with whatever caused it. Waiting rows are the outbox."""

from __future__ import annotations

import json
import uuid
from typing import Any

from shared.ids import new_id
from shared.kinds import JobKind
from shared.states import PrincipalKind

#: Where one coalesced NOTIFY goes after a commit that enqueued. A hint: losing it costs a delay, never a job.
CHANNEL = "taskhub_jobs"

#: How much earlier a job is taken for each point of priority: `rank` is `schedule_time` less that.
PRIORITY_BONUS = "interval '6 seconds'"

#: By how much `rank` can lie behind `schedule_time`: the lowest priority is -100.
RANK_SLACK = f"100 * {PRIORITY_BONUS}"

#: Takes the parameters of `new_job`. Can stand alone or as a CTE of a larger statement.
INSERT_JOB = """
INSERT INTO jobs (id, kind, args, queue, max_attempts, owner_id, owner_kind, task_id, traceparent)
VALUES (%(job_id)s, %(job_kind)s, %(job_args)s::jsonb, %(job_queue)s, %(job_max_attempts)s,
        %(job_owner_id)s, %(job_owner_kind)s, %(job_task_id)s, %(job_traceparent)s)
"""


def new_job(
    kind: JobKind,
    args: dict[str, Any],
    *,
    owner_id: uuid.UUID | None = None,
    owner_kind: str = PrincipalKind.USER,
    task_id: uuid.UUID | None = None,
    traceparent: str | None = None,
) -> dict[str, Any]:
    """Returns the parameters of `INSERT_JOB` for a job that is due at once. `args` must not hold a secret."""
    return {
        "job_id": new_id(),
        "job_kind": kind.name,
        "job_args": json.dumps(args),
        "job_queue": kind.queue,
        "job_max_attempts": kind.max_attempts,
        "job_owner_id": owner_id,
        "job_owner_kind": owner_kind,
        "job_task_id": task_id,
        "job_traceparent": traceparent,
    }
