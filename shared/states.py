"""The states of tasks and jobs, drawn in docs/architecture.md.

A task moves as the one table here says. A job moves by the fenced statements of the worker, each of which names the
state that it leaves.
"""

from __future__ import annotations

from enum import StrEnum


class TaskState(StrEnum):
    """Where a piece of work stands."""

    TODO = "TODO"
    IN_PROGRESS = "IN_PROGRESS"
    DONE = "DONE"
    CANCELLED = "CANCELLED"


class TaskAction(StrEnum):
    """What moves a task from one state to another: the custom methods of TaskService."""

    START = "start"
    COMPLETE = "complete"
    CANCEL = "cancel"
    REOPEN = "reopen"


TASK_TRANSITIONS: dict[TaskAction, tuple[frozenset[TaskState], TaskState]] = {
    TaskAction.START: (frozenset({TaskState.TODO}), TaskState.IN_PROGRESS),
    TaskAction.COMPLETE: (frozenset({TaskState.TODO, TaskState.IN_PROGRESS}), TaskState.DONE),
    TaskAction.CANCEL: (frozenset({TaskState.TODO, TaskState.IN_PROGRESS}), TaskState.CANCELLED),
    TaskAction.REOPEN: (frozenset({TaskState.DONE, TaskState.CANCELLED}), TaskState.TODO),
}


class JobState(StrEnum):
    """What `jobs.state` stores.

    WAITING is one stored state for three that users see: SCHEDULED before its time, RETRYING before the time of a later
    attempt, QUEUED once it is due. The clock tells them apart.
    """

    WAITING = "WAITING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class AttemptState(StrEnum):
    """How one try at a job went."""

    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    LOST = "LOST"
    RELEASED = "RELEASED"


class PrincipalKind(StrEnum):
    """Who can call, own and be assigned things: the collection that begins the name of a principal."""

    USER = "users"
    SERVICE_ACCOUNT = "serviceAccounts"


class UserState(StrEnum):
    """What the account of a person can be used for."""

    ACTIVE = "ACTIVE"
    DISABLED = "DISABLED"
    DELETED = "DELETED"


class Role(StrEnum):
    """What an account may do beyond what it owns."""

    MEMBER = "MEMBER"
    ADMIN = "ADMIN"
