"""The account of a service as the rules see it."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any, NamedTuple

from shared.ids import resource_name
from shared.states import PrincipalKind


class ServiceAccount(NamedTuple):
    """A row of `service_accounts`, in the order of `COLUMNS`."""

    id: uuid.UUID
    display_name: str
    description: str
    scopes: list[str]
    create_time: datetime
    update_time: datetime
    disable_time: datetime | None = None
    delete_time: datetime | None = None
    purge_time: datetime | None = None
    version: int = 1

    @property
    def name(self) -> str:
        """Resource name of the account."""
        return resource_name(PrincipalKind.SERVICE_ACCOUNT, self.id)

    @property
    def etag(self) -> str:
        """Changes with every change of the account (AIP-154)."""
        return f'"{self.version}"'


def differences(before: ServiceAccount, after: ServiceAccount) -> dict[str, Any]:
    """Returns what changed, as the log keeps it: field → [old, new]."""
    changes: dict[str, Any] = {
        field: [getattr(before, field), getattr(after, field)]
        for field in ("display_name", "description", "scopes")
        if getattr(before, field) != getattr(after, field)
    }
    disabled = [before.disable_time is not None, after.disable_time is not None]
    return changes | ({"disabled": disabled} if disabled[0] != disabled[1] else {})
