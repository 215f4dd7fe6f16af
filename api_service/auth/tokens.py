"""Access tokens: JWTs signed with Ed25519, made and checked as RFC 8725 and RFC 9068 say."""

from __future__ import annotations

import time
import uuid
from datetime import UTC, datetime
from typing import NamedTuple

import jwt

from api_service.auth.revocations import Revocations
from api_service.keys.ring import KeyRing
from api_service.principal import Principal
from api_service.settings import ApiSettings
from shared.errors import TokenInvalid
from shared.ids import new_id
from shared.states import PrincipalKind

ALGORITHM = "EdDSA"
TYPE = "at+jwt"
CLOCK_SKEW_SECONDS = 5
MAX_TOKEN_LENGTH = 4096
_MAX_KID_LENGTH = 64
_CACHE_SIZE = 10_000


class _Checked(NamedTuple):
    """A token whose signature and claims were found good."""

    principal: Principal
    #: In seconds since 1970, the clock skew included.
    expire: float
    kid: str
    generation: int


class TokenSigner:
    """Makes access tokens."""

    def __init__(self, keys: KeyRing, settings: ApiSettings) -> None:
        self._keys = keys
        self._settings = settings

    def sign(self, principal: Principal, *, until: datetime | None = None, generation: int = 0) -> tuple[str, datetime]:
        """Returns a token for `principal` and when it stops working: in its time, and not after `until`.

        `generation` is that of a service account's tokens; the ones before are over.
        """
        key = self._keys.signer()
        now = int(time.time())
        expire = now + self._settings.access_token_seconds
        if until is not None:
            expire = min(expire, int(until.timestamp()))
        claims = {
            "iss": self._settings.token_issuer,
            "aud": self._settings.token_audience,
            "sub": principal.name,
            "sid": str(principal.session_id),
            "jti": str(new_id()),
            "scope": " ".join(sorted(principal.scopes)),
            "iat": now,
            "nbf": now,
            "exp": expire,
        }
        if generation:
            claims["gen"] = generation
        token = jwt.encode(claims, key.private, algorithm=ALGORITHM, headers={"kid": key.kid, "typ": TYPE})
        return token, datetime.fromtimestamp(expire, UTC)


class TokenVerifier:
    """Checks access tokens, without a query: the keys and the ended sessions are at hand."""

    def __init__(self, keys: KeyRing, revocations: Revocations, settings: ApiSettings) -> None:
        self._keys = keys
        self._revocations = revocations
        self._settings = settings
        # A signature costs 150 µs to check. What was checked stays good until it expires or its key goes. Only tokens
        # that we signed ever get in, so that nobody fills it with inventions; what is refused is not remembered.
        self._cache: dict[str, _Checked] = {}

    async def verify(self, token: str) -> Principal:
        """Returns whom the token stands for. Raises TokenInvalid, whatever is wrong with it."""
        known = self._cache.get(token)
        if known is None:
            known = await self._check(token)
            if len(self._cache) >= _CACHE_SIZE:
                del self._cache[next(iter(self._cache))]
            self._cache[token] = known
        if time.time() >= known.expire or self._keys.get(known.kid) is None:
            self._cache.pop(token, None)
            raise TokenInvalid
        if self._revocations.over(known.principal.session_id, known.generation):
            raise TokenInvalid
        return known.principal

    async def _check(self, token: str) -> _Checked:
        if len(token) > MAX_TOKEN_LENGTH:
            raise TokenInvalid
        try:
            header = jwt.get_unverified_header(token)
            kid = header.get("kid")
            if not isinstance(kid, str) or len(kid) > _MAX_KID_LENGTH or str(header.get("typ")).lower() != TYPE:
                raise TokenInvalid
            key = await self._keys.find(kid)
            if key is None:
                raise TokenInvalid
            claims = jwt.decode(
                token,
                key.public,
                algorithms=[ALGORITHM],
                issuer=self._settings.token_issuer,
                audience=self._settings.token_audience,
                leeway=CLOCK_SKEW_SECONDS,
                options={"require": ["iss", "aud", "sub", "sid", "jti", "scope", "iat", "nbf", "exp"]},
            )
            kind, _, id_ = claims["sub"].partition("/")
            principal = Principal(
                id=uuid.UUID(id_),
                kind=PrincipalKind(kind),
                session_id=uuid.UUID(claims["sid"]),
                scopes=frozenset(claims["scope"].split()),
            )
            # Also where the operator has shortened their life: what has ended is remembered for no longer than that.
            expire = min(float(claims["exp"]), float(claims["iat"]) + self._settings.access_token_seconds)
            return _Checked(principal, expire + CLOCK_SKEW_SECONDS, kid, int(claims.get("gen", 0)))
        except (jwt.PyJWTError, ValueError, AttributeError) as error:
            raise TokenInvalid from error
