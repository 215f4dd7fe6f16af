"""The peer's tasks, as its documentation writes them. Runs in the peer's environment, which knows nothing of TaskHub.

`python -m plain_celery TASK COUNT` publishes; with `-` for the count, a message for each line of its input.
"""

from __future__ import annotations

import os
import sys
import time
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


def _work(id_: str) -> None:
    time.sleep(0.05)
    try:
        _connection().execute(
            "INSERT INTO probe_ledger (job_id, attempt, step, pid) VALUES (%s, %s, %s, %s)", [id_, 1, "", os.getpid()]
        )
    except psycopg.OperationalError:
        _connection.cache_clear()
        raise


@app.task(name="work")  # type: ignore[untyped-decorator] # celery has no types
def work(id_: str) -> None:
    """Does what `chaos.row` does."""
    _work(id_)


@app.task(  # type: ignore[untyped-decorator] # celery has no types
    name="work_late",
    acks_late=True,
    reject_on_worker_lost=True,
    autoretry_for=(psycopg.OperationalError,),
    max_retries=None,
    default_retry_delay=1,
)
def work_late(id_: str) -> None:
    """The same, with all that Celery offers against a loss."""
    _work(id_)


@cache
def _connection() -> psycopg.Connection[Any]:
    """One connection a pool process, kept open: opening one for each task would flatter us."""
    return psycopg.connect(os.environ["TASKHUB_DATABASE_URL"], autocommit=True)


if __name__ == "__main__":
    with app.producer_or_acquire() as producer:
        messages = [[line.strip()] for line in sys.stdin] if sys.argv[2] == "-" else [[]] * int(sys.argv[2])
        for arguments in messages:
            app.send_task(sys.argv[1], args=arguments, producer=producer)
