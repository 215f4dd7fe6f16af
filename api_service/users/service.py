"""The rules of accounts as resources."""

from __future__ import annotations

from api_service.database import Connection
from api_service.principal import Principal
from api_service.users import queries
from shared.errors import NotFound
from shared.ids import parse_name

ME = "users/me"


async def get_user(connection: Connection, principal: Principal, name: str) -> queries.UserRow:
    """Returns the account with this name. Anybody else's does not exist, except for an administrator."""
    id_ = principal.id if name == ME else parse_name("users", name)
    if id_ != principal.id and not principal.holds("admin"):
        raise NotFound(resource=name)
    row = await queries.user(connection, id_)
    if row is None:
        raise NotFound(resource=name)
    return row
