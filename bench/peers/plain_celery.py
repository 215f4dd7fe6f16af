"""The peer's tasks, as its documentation writes them. Runs in the peer's environment, which knows nothing of TaskHub.

`python -m plain_celery TASK COUNT` publishes.
"""

from __future__ import annotations

import os
import sys
import uuid
from functools import cache
from typing import Any

import psycopg
from celery import Celery

app = Celery("plain_celery", broker=os.environ["PEER_BROKER_URL"])


@app.task(name="noop")  # type: ignore[untyped-decorator] # celery has no types
def noop() -> None:
    """Does nothing."""


@app.task(name="row")  # type: ignore[untyped-decorator] # celery has no types
def row() -> None:
    """Commits the row that `probe.row` writes."""
    _connection().execute(
        "INSERT INTO probe_ledger (job_id, attempt, step, pid) VALUES (%s, %s, %s, %s)",
        [uuid.uuid4(), 1, "", os.getpid()],
    )


@cache
def _connection() -> psycopg.Connection[Any]:
    """One connection a pool process, kept open: opening one for each task would flatter us."""
    return psycopg.connect(os.environ["TASKHUB_DATABASE_URL"], autocommit=True)


if __name__ == "__main__":
    with app.producer_or_acquire() as producer:
        for _ in range(int(sys.argv[2])):
            app.send_task(sys.argv[1], producer=producer)
