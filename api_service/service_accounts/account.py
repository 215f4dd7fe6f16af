"""The account of a service as the rules see it."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any, NamedTuple

from shared.ids import resource_name
from shared.states import PrincipalKind


class ServiceAccount(NamedTuple):
    """A row of `service_accounts`, in the order of `COLUMNS`. Since when it is disabled only the database knows."""

    id: uuid.UUID
    display_name: str
    description: str
    scopes: list[str]
    create_time: datetime
    update_time: datetime
    disabled: bool = False
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
    return {
        field: [getattr(before, field), getattr(after, field)]
        for field in ("display_name", "description", "scopes", "disabled")
        if getattr(before, field) != getattr(after, field)
    }
