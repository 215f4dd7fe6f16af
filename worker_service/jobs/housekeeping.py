"""The kind `housekeeping`: deletes what is kept no longer. The result says how many rows of each table went."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from shared.kinds import HOUSEKEEPING
from worker_service.context import Context
from worker_service.errors import Cancelled
from worker_service.jobs import Job
from worker_service.purges import PURGES, Purge


def keep_house(context: Context) -> Mapping[str, Any]:
    """Goes through the tables, a step each: a later attempt goes on with the one that was not finished."""
    gone: dict[str, int] = {}
    for index, (table, purge) in enumerate(PURGES.items()):
        context.progress(index / len(PURGES), table)
        gone[table] = context.step(table, partial(_purge, context, purge))
    return gone


JOB = Job(HOUSEKEEPING, keep_house)


def _purge(context: Context, purge: Purge) -> int:
    total = 0
    for gone in purge(context.connection, context.settings):
        total += gone
        if context.cancelled:
            raise Cancelled
    return total
