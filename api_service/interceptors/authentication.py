"""Says who calls, and keeps out whom the method's access rule does not let in."""

from __future__ import annotations

from typing import Any, assert_never

from taskhub.v1.options_pb2 import AccessRule

from api_service.auth.tokens import TokenVerifier
from api_service.call import Call
from api_service.interceptors.steps import Handler
from api_service.methods import Method
from api_service.principal import Principal
from shared.errors import PermissionDenied, TokenInvalid, Unauthenticated

_PREFIX = "bearer "


class Authentication:
    """Reads `authorization: Bearer …` on every method that is not public, where a token is not even looked at."""

    def __init__(self, verifier: TokenVerifier) -> None:
        self._verifier = verifier

    def wrap(self, method: Method, following: Handler) -> Handler:
        """Returns a handler that only those reach who may call `method`."""
        if method.access.kind == AccessRule.PUBLIC:
            return following
        scope = _scope(method.access)

        async def handle(request: Any, call: Call) -> Any:
            principal = await self._authenticate(call)
            if scope is not None and not principal.holds(scope):
                raise PermissionDenied(scope=scope)
            call.principal_or_none = principal
            return await following(request, call)

        return handle

    async def _authenticate(self, call: Call) -> Principal:
        header = call.metadata.get("authorization")
        if header is None:
            raise Unauthenticated
        # A second value could be read by one party and the first by another.
        if not isinstance(header, str) or header[: len(_PREFIX)].lower() != _PREFIX:
            raise TokenInvalid
        return await self._verifier.verify(header[len(_PREFIX) :])


def _scope(rule: AccessRule) -> str | None:
    """Returns the scope that `rule` asks for, or None where any account will do."""
    match rule.kind:
        case AccessRule.ANY_ACCOUNT:
            return None
        case AccessRule.SCOPE:
            return rule.scope
        case AccessRule.ADMIN:
            return "admin"
        case _ as unknown:
            assert_never(unknown)  # type: ignore[arg-type]
