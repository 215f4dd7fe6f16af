"""What tasks can be filtered by."""

from __future__ import annotations

from functools import lru_cache

from shared.filters.compile import ME, Condition, Schema, compile_filter
from shared.filters.fields import Enum, Map, Name, Text, Time
from shared.states import PrincipalKind, TaskState
from shared.tables.tasks import TASK_SEARCH

#: What `tasks.priority` holds, by the names of the contract.
PRIORITIES = {"LOW": 1, "NORMAL": 2, "HIGH": 3, "URGENT": 4}

SCHEMA = Schema(
    fields={
        "state": Enum("state", {state.value: state.value for state in TaskState}),
        "priority": Enum("priority", PRIORITIES, ordered=True),
        "title": Text("title", TASK_SEARCH),
        "description": Text("description", TASK_SEARCH),
        "labels": Map("labels"),
        "due_time": Time("due_time"),
        "remind_time": Time("remind_time"),
        "owner": Name("owner_id", tuple(PrincipalKind), "owner_kind"),
        "assignee": Name("assignee_id", tuple(PrincipalKind), "assignee_kind", optional=True),
        "parent_task": Name("parent_id", ("tasks",), optional=True),
        "create_time": Time("create_time", optional=False),
        "update_time": Time("update_time", optional=False),
        "complete_time": Time("complete_time"),
        "delete_time": Time("delete_time"),
    },
    search=TASK_SEARCH,
)


def task_filter(text: str, me: str = "") -> Condition:
    """Returns the condition on the columns of `tasks` that a filter stands for. Raises FilterInvalid.

    `me` is the name of the account that asks. The same few filters come again and again: the last ones are kept.
    """
    return _kept(text, me if ME in text else "")


@lru_cache(maxsize=1024)
def _kept(text: str, me: str) -> Condition:
    return compile_filter(text, SCHEMA, me)
