"""The account of a person as the rules see it."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import NamedTuple

from shared.ids import resource_name
from shared.states import PrincipalKind, Role, UserState


class User(NamedTuple):
    """A row of `users`, in the order of `COLUMNS`, without the password."""

    id: uuid.UUID
    email: str | None
    display_name: str
    role: str
    create_time: datetime
    update_time: datetime
    disable_time: datetime | None
    delete_time: datetime | None
    purge_time: datetime | None
    version: int

    @property
    def name(self) -> str:
        """Resource name of the account."""
        return resource_name(PrincipalKind.USER, self.id)

    @property
    def state(self) -> UserState:
        """What the account can be used for."""
        if self.delete_time is not None:
            return UserState.DELETED
        return UserState.ACTIVE if self.disable_time is None else UserState.DISABLED

    @property
    def etag(self) -> str:
        """Changes with every change of the account (AIP-154)."""
        return f'"{self.version}"'

    @property
    def administers(self) -> bool:
        """Whether somebody can sign in with it and look after everybody."""
        return self.role == Role.ADMIN and self.state is UserState.ACTIVE
