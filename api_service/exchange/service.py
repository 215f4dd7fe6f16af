"""The rules of exchanging the key of a service account for an access token."""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from api_service.audit import Actor
from api_service.auth.tokens import TokenSigner
from api_service.database import Connection
from api_service.exchange import queries
from api_service.principal import Principal
from api_service.service_accounts.key import key_name, read_secret
from shared import events
from shared.errors import InvalidArgument, ServiceKeyInvalid
from shared.states import PrincipalKind

_NO_HASH = bytes(32)

#: Why a key was refused, as the audit tells it.
ENDED = "ended"
SECRET_WRONG = "secret_wrong"  # noqa: S105  a name


@dataclass(frozen=True, slots=True)
class Exchanged:
    """An access token and whom it stands for."""

    access_token: str
    expire_time: datetime
    principal: Principal


class Exchange:
    """Signs services in."""

    def __init__(self, signer: TokenSigner) -> None:
        self._signer = signer

    async def exchange(
        self, connection: Connection, text: str, scopes: Sequence[str], context: Mapping[str, str]
    ) -> Exchanged:
        """Returns a token for the account of a key, with all of its scopes or with `scopes`.

        Raises ServiceKeyInvalid, whatever is wrong with the key. One read; once a minute for each key also a write,
        for the time of its last use and for the audit. `connection` is in autocommit, so that a refusal leaves its
        trace.
        """
        id_, hash_ = read_secret(text) or (None, _NO_HASH)
        row = await queries.key(connection, id_) if id_ else None
        right = hmac.compare_digest(row.secret_hash if row else _NO_HASH, hash_)
        if id_ is None or row is None:
            raise ServiceKeyInvalid
        held = frozenset(row.scopes)
        principal = Principal(
            row.service_account_id, PrincipalKind.SERVICE_ACCOUNT, id_, frozenset(scopes) & held if scopes else held
        )
        actor = Actor(principal, context)
        resource = key_name(principal.id, id_)
        if not right or not row.live:
            if not row.refusal_noted:
                event = events.new_event(
                    events.KEY_REFUSED,
                    resource,
                    principal.name if right else events.ANYBODY,
                    owner_id=principal.id,
                    changes={"reason": [None, ENDED if right else SECRET_WRONG]},
                    context=context,
                )
                await queries.note_refusal(connection, id_, event)
            raise ServiceKeyInvalid
        for scope in scopes:
            if scope not in held:
                raise InvalidArgument("scopes", f"`{scope}` was not given to the account")
        if not row.use_noted:
            event = actor.event(events.KEY_EXCHANGED, resource, principal.id, {})
            await queries.note_use(connection, id_, event)
        access_token, expire_time = self._signer.sign(principal, until=row.expire_time, generation=row.token_generation)
        return Exchanged(access_token, expire_time, principal)
