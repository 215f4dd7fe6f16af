"""The kind `housekeeping`: deletes what is kept no longer. The result says how many rows of each table went.

With `{"account": id}` it begins with the tasks of that deleted account.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from shared.kinds import HOUSEKEEPING
from worker_service.context import Context
from worker_service.database import Connection
from worker_service.errors import Cancelled
from worker_service.jobs import Job
from worker_service.purges import PURGES, Purge, orphaned


def keep_house(context: Context) -> Mapping[str, Any]:
    """Goes through the tables, a step each: a later attempt goes on with the one that was not finished."""
    gone: dict[str, int] = {}
    if "account" in context.args:
        account = uuid.UUID(context.args["account"])
        gone["orphaned"] = context.step("orphaned", partial(_count, context, partial(orphaned, account=account)))
    for index, (table, purge) in enumerate(PURGES.items()):
        context.progress(index / len(PURGES), table)
        gone[table] = context.step(table, partial(_purge, context, purge))
    return gone


JOB = Job(HOUSEKEEPING, keep_house)


def _purge(context: Context, purge: Purge) -> int:
    return _count(context, lambda connection: purge(connection, context.settings))


def _count(context: Context, batches: Callable[[Connection], Iterator[int]]) -> int:
    total = 0
    for gone in batches(context.connection):
        total += gone
        if context.cancelled:
            raise Cancelled
    return total
