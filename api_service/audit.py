"""Who changes an account, and from where: what the log of events keeps for the audit."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from api_service.principal import Principal
from shared.events import new_event

#: Stands in an event for what is personal: that it changed can be known, and the log cannot forget.
UNTOLD: list[Any] = [None, None]


@dataclass(frozen=True, slots=True)
class Actor:
    """The principal of a call, and the context in which it was made: address and user agent."""

    principal: Principal
    context: Mapping[str, str]

    def event(self, kind: str, resource: str, owner_id: uuid.UUID, changes: dict[str, Any]) -> dict[str, Any]:
        """Returns the parameters of `INSERT_EVENT`."""
        return new_event(kind, resource, self.principal.name, owner_id=owner_id, changes=changes, context=self.context)
