"""Who calls, and what they may do."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from functools import cached_property

from shared.ids import resource_name
from shared.states import PrincipalKind, Role

#: What every account may do with what it owns.
MEMBER_SCOPES = frozenset({"tasks.read", "tasks.write", "jobs.read"})

#: What administrators may do beside it: everything, with everybody's.
ADMIN_SCOPES = MEMBER_SCOPES | {"admin", "tasks.read_all", "tasks.write_all", "jobs.read_all"}


def scopes_of(role: Role) -> frozenset[str]:
    """Returns the scopes that come with a role."""
    return ADMIN_SCOPES if role is Role.ADMIN else MEMBER_SCOPES


@dataclass(frozen=True)
class Principal:
    """An authenticated account, as its access token describes it.

    `session_id` is what ends its tokens when it is revoked: the session of a user, the key of a service account.
    """

    id: uuid.UUID
    kind: PrincipalKind
    session_id: uuid.UUID
    scopes: frozenset[str]

    @cached_property
    def name(self) -> str:
        """Resource name of the account."""
        return resource_name(self.kind, self.id)

    def holds(self, scope: str) -> bool:
        """Whether the token carries this scope."""
        return scope in self.scopes
