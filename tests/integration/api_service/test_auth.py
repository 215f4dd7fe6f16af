"""Registration, sign-in, sessions and tokens."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import jwt
import pytest
from taskhub.v1 import auth_service_pb2, user_service_pb2

from shared.crypto import Secrets
from tests.support.api import PASSWORD, SECRET, Account, Api, refusal, refused
from tests.support.servers import Processes, eventually

ME = user_service_pb2.GetUserRequest(name="users/me")


def register(api: Api, email: str, password: str = PASSWORD) -> None:
    api.auth.Register(auth_service_pb2.RegisterRequest(email=email, password=password, display_name="Ann"))


def links(api: Api, email: str) -> list[str]:
    """Returns the tokens of an address's pending registrations, oldest first."""
    rows = api.execute("SELECT id FROM registrations WHERE email = %s ORDER BY id", (email,))
    return [Secrets(SECRET).link_token("verify-email", row[0]) for row in rows]


def jobs(api: Api, template: str, value: str) -> int:
    statement = "SELECT count(*) FROM jobs WHERE kind = 'email' AND args->>'template' = %s AND args::text LIKE %s"
    return int(api.execute(statement, (template, f"%{value}%"))[0][0])


def verify(api: Api, token: str) -> str:
    return str(api.auth.VerifyEmail(auth_service_pb2.VerifyEmailRequest(token=token)).user)


def login(email: str, password: str = PASSWORD) -> auth_service_pb2.LoginRequest:
    return auth_service_pb2.LoginRequest(email=email, password=password)


@pytest.fixture
def email() -> str:
    return f"{uuid.uuid4().hex}@example.com"


def test_links_of_one_address_opened_at_once_make_one_account_and_hold_nobody_up(api: Api, email: str) -> None:
    for _ in range(6):
        register(api, email)

    def open_link(token: str) -> str:
        try:
            return verify(api, token)
        except grpc.RpcError as error:
            return refusal(error).reason

    with ThreadPoolExecutor(6) as callers:
        answers = sorted(callers.map(open_link, links(api, email)))
    assert answers[:5] == ["LINK_INVALID"] * 5
    assert answers[5].startswith("users/")


def test_an_account_exists_once_its_address_is_verified(api: Api, email: str) -> None:
    register(api, email.upper())
    assert refused(api.auth.Login, login(email)).reason == "CREDENTIALS_INVALID"
    [token] = links(api, email)
    user = verify(api, token)
    assert jobs(api, "welcome", user.removeprefix("users/")) == 1
    answer = api.auth.Login(login(email))
    assert answer.user == user
    me = api.users.GetUser(ME, metadata=[("authorization", f"Bearer {answer.tokens.access_token}")])
    assert (me.email, me.display_name) == (email, "Ann")


@pytest.mark.parametrize(
    "address", ["nobody", "a b@example.com", " a@example.com", ".a@example.com", "a.@example.com", "a..b@example.com"]
)
def test_an_address_that_no_mail_reaches_is_refused(api: Api, address: str) -> None:
    found = refused(api.auth.Register, auth_service_pb2.RegisterRequest(email=address, password=PASSWORD))
    assert (found.reason, found.fields) == ("FIELD_INVALID", ["email"])


def test_a_domain_in_another_script_is_the_account_of_its_dns_name(api: Api, email: str) -> None:
    local = email.partition("@")[0]
    register(api, f"{local}@M\u00fcller.example")
    verify(api, links(api, f"{local}@xn--mller-kva.example")[0])
    assert api.auth.Login(login(f"{local}@m\u00fcller.example")).user


@pytest.mark.parametrize(("password", "reason"), [("Password1", "PASSWORD_COMMON"), ("", "PASSWORD_GUESSABLE")])
def test_a_password_that_is_guessed_first_is_refused(api: Api, email: str, password: str, reason: str) -> None:
    request = auth_service_pb2.RegisterRequest(email=email, password=password or email)
    found = refused(api.auth.Register, request)
    assert (found.code, found.reason, found.fields) == (grpc.StatusCode.INVALID_ARGUMENT, reason, ["password"])
    assert links(api, email) == []


def test_a_known_address_answers_the_same_and_its_owner_is_told(api: Api, alice: Account) -> None:
    register(api, alice.email, "another password")
    assert links(api, alice.email) == []
    assert jobs(api, "already_registered", str(alice.id)) == 1
    assert refused(api.auth.Login, login(alice.email, "another password")).reason == "CREDENTIALS_INVALID"


def test_a_link_works_once_and_activates_only_its_own_password(api: Api, email: str) -> None:
    register(api, email, "the first password")
    register(api, email, "the second password")
    first, second = links(api, email)
    verify(api, first)
    for token in (first, second):
        found = refused(api.auth.VerifyEmail, auth_service_pb2.VerifyEmailRequest(token=token))
        assert (found.reason, found.fields) == ("LINK_INVALID", ["token"])
    assert refused(api.auth.Login, login(email, "the second password")).reason == "CREDENTIALS_INVALID"
    assert api.auth.Login(login(email, "the first password")).user


def test_an_expired_link_lives_again_when_it_is_sent_again(api: Api, email: str) -> None:
    register(api, email)
    [token] = links(api, email)
    api.execute(
        "UPDATE registrations SET create_time = now() - '2 days'::interval, expire_time = now() - '1 day'::interval "
        "WHERE email = %s",
        (email,),
    )
    assert refused(api.auth.VerifyEmail, auth_service_pb2.VerifyEmailRequest(token=token)).reason == "LINK_INVALID"
    api.auth.ResendVerification(auth_service_pb2.ResendVerificationRequest(email=email))
    assert verify(api, token)


@pytest.mark.parametrize("change", [lambda token: token[:-1] + "A", lambda token: token + "A", lambda _: "x"])
def test_a_forged_link_is_refused(api: Api, email: str, change: Any) -> None:
    register(api, email)
    [token] = links(api, email)
    found = refused(api.auth.VerifyEmail, auth_service_pb2.VerifyEmailRequest(token=change(token)))
    assert found.reason == "LINK_INVALID"


def test_unknown_addresses_and_wrong_passwords_cannot_be_told_apart(api: Api, alice: Account, email: str) -> None:
    answers = [refused(api.auth.Login, login(alice.email, "wrong password")), refused(api.auth.Login, login(email))]
    assert {(found.code, found.reason, found.message) for found in answers} == {
        (grpc.StatusCode.UNAUTHENTICATED, "CREDENTIALS_INVALID", answers[0].message)
    }


def test_logout_ends_the_session_in_every_process(api: Api, alice: Account) -> None:
    api.auth.Logout(auth_service_pb2.LogoutRequest(), metadata=alice.metadata)
    again = auth_service_pb2.RefreshTokenRequest(refresh_token=alice.refresh_token)
    assert refused(api.auth.RefreshToken, again).reason == "REFRESH_TOKEN_INVALID"

    def refused_everywhere() -> bool:
        for _ in range(8):
            with api.connect() as channel:
                call: Any = channel.unary_unary("/taskhub.v1.UserService/GetUser")
                if refused(call, ME.SerializeToString(), metadata=alice.metadata).reason != "TOKEN_INVALID":
                    return False
        return True

    eventually(refused_everywhere)


def test_a_token_can_be_verified_offline_with_the_published_keys(api: Api, alice: Account) -> None:
    answer, call = api.auth.GetJwks.with_call(auth_service_pb2.GetJwksRequest())
    [key] = answer.keys
    token = alice.metadata[0][1].removeprefix("Bearer ")
    assert jwt.get_unverified_header(token)["kid"] == key.kid
    jwk = {"kty": key.kty, "crv": key.crv, "x": key.x}
    assert jwt.decode(token, jwt.PyJWK(jwk, "EdDSA"), ["EdDSA"], audience="taskhub")["sub"] == alice.name
    assert ("cache-control", "public, max-age=300") in call.initial_metadata()


def test_no_secret_is_stored_or_logged(processes: Processes, database_url: str, email: str) -> None:
    api = Api(processes, database_url, TASKHUB_API_PROCESSES="1", TASKHUB_LOG_LEVEL="DEBUG")
    secret = "a very secret password"
    register(api, email, secret)
    [token] = links(api, email)
    verify(api, token)
    answer = api.auth.Login(login(email, secret))
    needles = [secret, token, answer.tokens.access_token, answer.tokens.refresh_token]
    for table in ("jobs", "job_attempts", "events", "idempotency_records", "registrations", "users", "refresh_tokens"):
        rows = str(api.execute(f"SELECT {table}::text FROM {table}"))
        assert [needle for needle in needles if needle in rows] == []
    bearer = [("authorization", f"Bearer {answer.tokens.access_token}")]
    assert refused(api.users.GetUser, user_service_pb2.GetUserRequest(name="x"), metadata=bearer).fields == ["name"]
    eventually(lambda: "AuthService/Login" in processes.log(api.process))
    api.close()
    processes.stop()
    assert [needle for needle in needles if needle in processes.log(api.process)] == []
