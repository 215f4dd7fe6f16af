"""AuthService on the wire."""

from __future__ import annotations

from google.protobuf.message import Message
from taskhub.v1 import auth_service_pb2

from api_service.auth import policy, queries
from api_service.auth.address import normalise
from api_service.auth.passwords import Passwords
from api_service.auth.revocations import Revocations
from api_service.auth.service import AuthService
from api_service.auth.sign_in import SignIn
from api_service.call import Call
from api_service.database import Connection, Database
from api_service.idempotency import Idempotency
from api_service.keys.ring import KeyRing
from api_service.keys.rotation import JWKS_CACHE_SECONDS
from api_service.notifier import Notifier
from api_service.sessions.service import Refusal, Sessions, Tokens
from api_service.wire import set_time
from shared.errors import PasswordsBusy, RefreshTokenInvalid, TaskHubError
from shared.ids import resource_name

#: What GetJwks says of its own freshness; the gateway hands it on.
JWKS_CACHE_CONTROL = f"public, max-age={JWKS_CACHE_SECONDS}"


class AuthServicer:
    """The part of AuthService that lets people in: opens the transactions."""

    def __init__(
        self,
        service: AuthService,
        sign_in: SignIn,
        sessions: Sessions,
        database: Database,
        idempotency: Idempotency,
        passwords: Passwords,
        keys: KeyRing,
        revocations: Revocations,
        jobs: Notifier,
    ) -> None:
        self._service = service
        self._sign_in = sign_in
        self._sessions = sessions
        self._database = database
        self._idempotency = idempotency
        self._passwords = passwords
        self._keys = keys
        self._revocations = revocations
        self._jobs = jobs

    async def Register(self, request: auth_service_pb2.RegisterRequest, call: Call) -> Message | bytes:
        """Hashes first, so that no connection waits for it."""
        email = normalise(request.email)
        policy.check(request.password, email)
        registration = queries.RegistrationRow(
            email, await self._passwords.hash(request.password), request.display_name.strip()
        )

        async def work(connection: Connection) -> Message:
            await self._service.register(connection, registration, call.origin)
            return auth_service_pb2.RegisterResponse()

        response = await self._idempotency.run(call, request, work, subject=email)
        self._jobs.wake()
        return response

    async def VerifyEmail(self, request: auth_service_pb2.VerifyEmailRequest, call: Call) -> Message | bytes:
        """The token in the request is also whose idempotency key it is."""

        async def work(connection: Connection) -> Message:
            user_id = await self._service.verify_email(connection, request.token, call.origin)
            return auth_service_pb2.VerifyEmailResponse(user=resource_name("users", user_id))

        response = await self._idempotency.run(call, request, work, subject=request.token)
        self._jobs.wake()
        return response

    async def ResendVerification(
        self, request: auth_service_pb2.ResendVerificationRequest, call: Call
    ) -> Message | bytes:
        """Answers the same, whatever is known of the address."""
        email = normalise(request.email)

        async def work(connection: Connection) -> Message:
            await self._service.resend_verification(connection, email, call.origin)
            return auth_service_pb2.ResendVerificationResponse()

        response = await self._idempotency.run(call, request, work, subject=email)
        self._jobs.wake()
        return response

    async def Login(self, request: auth_service_pb2.LoginRequest, call: Call) -> Message:
        """Holds no connection while the password is checked. A refusal leaves a trace, and comes after the commit."""
        async with self._database.connection() as connection:
            attempt = await self._sign_in.begin(connection, normalise(request.email), call.origin)
        stored = attempt.user.password_hash if attempt.user else None
        right = await self._passwords.verify(stored, request.password)
        async with self._database.transaction() as connection:
            outcome = await self._sign_in.finish(connection, attempt, right=right)
        if isinstance(outcome, TaskHubError):
            raise outcome
        self._jobs.wake()
        if attempt.user is not None and self._passwords.needs_rehash(attempt.user.password_hash):
            await self._rehash(attempt.user, request.password)
        return auth_service_pb2.LoginResponse(tokens=_pair(outcome), user=outcome.principal.name)

    async def _rehash(self, user: queries.CredentialsRow, password: str) -> None:
        try:
            hashed = await self._passwords.hash(password)
        except PasswordsBusy:  # the session is open, and the next sign-in will do it
            return
        async with self._database.connection() as connection:
            await queries.rehash(connection, user, hashed)

    async def RefreshToken(self, request: auth_service_pb2.RefreshTokenRequest, call: Call) -> Message:
        """A refusal may have ended the session: it is answered after the commit."""
        async with self._database.transaction() as connection:
            outcome = await self._sessions.refresh(connection, request.refresh_token, call.origin)
        if isinstance(outcome, Refusal):
            if outcome is Refusal.REUSED:
                await self._revocations.follow()
            raise RefreshTokenInvalid
        return auth_service_pb2.RefreshTokenResponse(tokens=_pair(outcome))

    async def GetJwks(self, request: auth_service_pb2.GetJwksRequest, call: Call) -> Message:  # noqa: ARG002
        """Answers from memory."""
        call.initial_metadata.append(("cache-control", JWKS_CACHE_CONTROL))
        keys = [
            auth_service_pb2.Jwk(kty="OKP", crv="Ed25519", x=key.x, kid=key.kid, alg="EdDSA", use="sig")
            for key in self._keys.published()
        ]
        return auth_service_pb2.GetJwksResponse(keys=keys)


def _pair(tokens: Tokens) -> auth_service_pb2.TokenPair:
    pair = auth_service_pb2.TokenPair(access_token=tokens.access_token, refresh_token=tokens.refresh_token)
    set_time(pair.access_expire_time, tokens.access_expire_time)
    set_time(pair.refresh_expire_time, tokens.refresh_expire_time)
    return pair
