"""Who may do what with a task.

| | sees it | fields, states | assignee, parent, subtasks along with it | deletes, undeletes |
| --- | --- | --- | --- | --- |
| owner, or `tasks.write_all` | yes | yes | yes | yes |
| assignee | yes | yes | no | no |
| `tasks.read_all` | yes | no | no | no |

Whoever may not see a task is told that there is none; whoever sees it and may not do this is told so.
"""

from __future__ import annotations

from api_service.principal import Principal
from api_service.tasks.task import Task
from shared.errors import OwnerOnly

READ_ALL = "tasks.read_all"
WRITE_ALL = "tasks.write_all"


def owns(principal: Principal, task: Task) -> bool:
    """Whether the caller may do everything with the task."""
    return task.owner_id == principal.id or principal.holds(WRITE_ALL)


def writes(principal: Principal, task: Task) -> bool:
    """Whether the caller may change what the task says and where it stands."""
    return owns(principal, task) or task.assignee_id == principal.id


def demand_owner(principal: Principal, task: Task) -> None:
    """Raises OwnerOnly for an assignee."""
    if not owns(principal, task):
        raise OwnerOnly
