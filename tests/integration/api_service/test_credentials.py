"""Passwords and addresses: changed, forgotten, proved."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import psycopg
import pytest
from taskhub.v1 import auth_service_pb2, user_service_pb2

from shared.crypto import Secrets
from tests.support.api import PASSWORD, SECRET, Account, Api, refusal, refused
from tests.support.servers import PATIENCE, eventually

ME = user_service_pb2.GetUserRequest(name="users/me")
NEXT = "a better horse battery"


def login(email: str, password: str) -> auth_service_pb2.LoginRequest:
    return auth_service_pb2.LoginRequest(email=email, password=password)


def change(current: str = PASSWORD, new: str = NEXT) -> auth_service_pb2.ChangePasswordRequest:
    return auth_service_pb2.ChangePasswordRequest(current_password=current, new_password=new)


def move(email: str, current: str = PASSWORD) -> auth_service_pb2.ChangeEmailRequest:
    return auth_service_pb2.ChangeEmailRequest(email=email, current_password=current)


def choose(token: str, new: str = NEXT) -> auth_service_pb2.ConfirmPasswordResetRequest:
    return auth_service_pb2.ConfirmPasswordResetRequest(token=token, new_password=new)


def verify(token: str) -> auth_service_pb2.VerifyEmailRequest:
    return auth_service_pb2.VerifyEmailRequest(token=token)


def ask_reset(api: Api, email: str) -> None:
    api.auth.RequestPasswordReset(auth_service_pb2.RequestPasswordResetRequest(email=email))


def mails(api: Api, *templates: str) -> list[dict[str, Any]]:
    """Returns the arguments of the jobs that mail one of the templates, oldest first."""
    rows = api.execute(
        "SELECT args FROM jobs WHERE kind = 'email' AND args->>'template' = ANY(%s) ORDER BY id", (list(templates),)
    )
    return [row[0] for row in rows]


def links(api: Api, purpose: str, where: str, value: object) -> list[str]:
    """Returns the tokens of links that were mailed and not used, oldest first."""
    rows = api.execute(
        f"SELECT id FROM links WHERE purpose = %s AND {where} = %s AND use_time IS NULL "
        "AND id::text IN (SELECT args->>'link' FROM jobs) ORDER BY id",
        (purpose, value),
    )
    return [Secrets(SECRET).link_token(purpose, row[0]) for row in rows]


def kinds(api: Api, account: Account) -> list[str]:
    rows = api.execute("SELECT kind FROM events WHERE resource = %s ORDER BY id", (account.name,))
    return [row[0] for row in rows]


def ended(api: Api, account: Account) -> bool:
    request = auth_service_pb2.RefreshTokenRequest(refresh_token=account.refresh_token)
    return refused(api.auth.RefreshToken, request).reason == "REFRESH_TOKEN_INVALID"


@pytest.fixture
def email() -> str:
    return f"{uuid.uuid4().hex}@example.com"


def test_a_new_password_ends_every_other_session_and_counts_at_once(api: Api, alice: Account) -> None:
    other = api.sign_in(alice.id, alice.email)
    ask_reset(api, alice.email)
    [link] = links(api, "reset-password", "user_id", alice.id)
    api.auth.ChangePassword(change(), metadata=alice.metadata)
    assert ended(api, other)
    eventually(lambda: refused(api.users.GetUser, ME, metadata=other.metadata).reason == "TOKEN_INVALID")
    assert api.users.GetUser(ME, metadata=alice.metadata).name == alice.name
    assert refused(api.auth.Login, login(alice.email, PASSWORD)).reason == "CREDENTIALS_INVALID"
    assert api.auth.Login(login(alice.email, NEXT)).user == alice.name
    assert refused(api.auth.ConfirmPasswordReset, choose(link)).reason == "LINK_INVALID"
    assert mails(api, "password_changed")[-1]["user"] == str(alice.id)
    assert "user.password_changed" in kinds(api, alice)


@pytest.mark.parametrize(
    ("new", "reason"),
    [("Password123", "PASSWORD_COMMON"), ("email", "PASSWORD_GUESSABLE"), ("short", "FIELD_INVALID")],
)
def test_a_new_password_is_held_to_the_rules(api: Api, alice: Account, new: str, reason: str) -> None:
    request = change(new=alice.email if new == "email" else new)
    found = refused(api.auth.ChangePassword, request, metadata=alice.metadata)
    assert (found.code, found.reason, found.fields) == (grpc.StatusCode.INVALID_ARGUMENT, reason, ["new_password"])


def test_a_stolen_access_token_cannot_guess_the_password(api: Api, alice: Account) -> None:
    calls: list[Any] = [
        lambda: refused(api.auth.ChangePassword, change("wrong password"), metadata=alice.metadata),
        lambda: refused(api.auth.ChangeEmail, move("x@example.com", "wrong password"), metadata=alice.metadata),
    ]
    found = [calls[n % 2]() for n in range(5)]
    assert {(each.reason, *each.fields) for each in found} == {("PASSWORD_WRONG", "current_password")}
    locked = refused(api.auth.ChangePassword, change(), metadata=alice.metadata)
    assert (locked.code, locked.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "SIGN_IN_LOCKED")
    assert locked.retry_seconds
    assert kinds(api, alice).count("user.password_refused") == 5


@pytest.mark.parametrize("right", [change(), move("somebody.else@example.com")])
def test_guesses_of_a_stolen_token_that_arrive_at_once_are_worth_no_more(api: Api, alice: Account, right: Any) -> None:
    """The right one begins before the fifth failure, and ends after it."""
    with psycopg.connect(api.database_url) as connection, ThreadPoolExecutor(1) as callers:
        guess = (
            api.auth.ChangePassword
            if isinstance(right, auth_service_pb2.ChangePasswordRequest)
            else api.auth.ChangeEmail
        )
        for _ in range(4):
            refused(api.auth.ChangePassword, change("wrong password"), metadata=alice.metadata)
        connection.execute(
            "UPDATE lockouts SET failures = 5, lock_time = now() + '1 minute'::interval WHERE failures = 4"
        )
        late = callers.submit(refused, guess, right, metadata=alice.metadata)
        eventually(lambda: api.execute("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"))
        connection.commit()
        assert late.result(PATIENCE).reason == "SIGN_IN_LOCKED"


def test_of_two_changes_at_once_one_counts(api: Api, alice: Account) -> None:
    def one(new: str) -> str:
        try:
            api.auth.ChangePassword(change(new=new), metadata=alice.metadata)
        except grpc.RpcError as error:
            return refusal(error).reason
        return new

    with ThreadPoolExecutor(2) as callers:
        outcome = set(callers.map(one, ["one new password", "other new password"]))
    assert "PASSWORD_WRONG" in outcome
    [new] = outcome - {"PASSWORD_WRONG"}
    assert api.auth.Login(login(alice.email, new)).user == alice.name


def test_a_sign_in_that_checked_the_old_password_comes_too_late(api: Api, alice: Account) -> None:
    with psycopg.connect(api.database_url) as connection, ThreadPoolExecutor(1) as callers:
        connection.execute("UPDATE users SET password_version = password_version + 1 WHERE id = %s", (alice.id,))
        signing_in = callers.submit(refused, api.auth.Login, login(alice.email, PASSWORD))  # finds it as it was
        eventually(lambda: api.execute("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"))
        connection.commit()
        assert signing_in.result(PATIENCE).reason == "CREDENTIALS_INVALID"


def test_a_change_of_address_that_checked_the_old_password_comes_too_late(api: Api, alice: Account, email: str) -> None:
    """Whoever knew the password would have had a link to take the account with, after its owner had changed it."""
    with psycopg.connect(api.database_url) as connection, ThreadPoolExecutor(1) as callers:
        connection.execute("UPDATE users SET password_version = password_version + 1 WHERE id = %s", (alice.id,))
        asking = callers.submit(refused, api.auth.ChangeEmail, move(email), metadata=alice.metadata)
        eventually(
            lambda: api.execute("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'") or asking.done()
        )
        connection.commit()
        assert asking.result(PATIENCE).reason == "PASSWORD_WRONG"
    assert api.execute("SELECT 1 FROM links WHERE user_id = %s", (alice.id,)) == []


def test_a_forgotten_password_is_chosen_anew_and_ends_every_session(api: Api, alice: Account) -> None:
    ask_reset(api, alice.email.upper())
    [link] = links(api, "reset-password", "user_id", alice.id)
    assert api.auth.ConfirmPasswordReset(choose(link)).user == alice.name
    assert ended(api, alice)
    assert api.auth.Login(login(alice.email, NEXT)).user == alice.name
    assert refused(api.auth.ConfirmPasswordReset, choose(link)).reason == "LINK_INVALID"


def test_a_reset_lifts_the_lock_of_whoever_was_locked_out(api: Api, alice: Account) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{api.port}", options=[("grpc.primary_user_agent", "else")]) as channel:
        call: Any = channel.unary_unary("/taskhub.v1.AuthService/Login")
        for _ in range(5):
            refused(call, login(alice.email, "wrong password").SerializeToString())
        assert refused(call, login(alice.email, PASSWORD).SerializeToString()).reason == "SIGN_IN_LOCKED"
        ask_reset(api, alice.email)
        api.auth.ConfirmPasswordReset(choose(links(api, "reset-password", "user_id", alice.id)[0]))
        assert call(login(alice.email, NEXT).SerializeToString())


def test_a_reset_lifts_the_lock_of_the_device_that_it_is_made_from(api: Api, alice: Account) -> None:
    for _ in range(5):
        refused(api.auth.Login, login(alice.email, "wrong password"))
    assert refused(api.auth.Login, login(alice.email, PASSWORD)).reason == "SIGN_IN_LOCKED"
    ask_reset(api, alice.email)
    api.auth.ConfirmPasswordReset(choose(links(api, "reset-password", "user_id", alice.id)[0]))
    assert api.auth.Login(login(alice.email, NEXT)).user == alice.name


@pytest.mark.parametrize("how", ["reset", "changed"])
def test_a_new_password_makes_every_other_device_a_stranger(api: Api, alice: Account, how: str) -> None:
    """Whoever knew the old one may have made theirs a known one: no mail, and failures that count apart."""

    def told() -> int:
        statement = "SELECT 1 FROM jobs WHERE args ->> 'template' = 'new_device' AND owner_id = %s"
        return len(api.execute(statement, (alice.id,)))

    with grpc.insecure_channel(f"127.0.0.1:{api.port}", options=[("grpc.primary_user_agent", "thief")]) as channel:
        call: Any = channel.unary_unary("/taskhub.v1.AuthService/Login")
        call(login(alice.email, PASSWORD).SerializeToString())
        assert told() == 1
        if how == "reset":
            ask_reset(api, alice.email)
            api.auth.ConfirmPasswordReset(choose(links(api, "reset-password", "user_id", alice.id)[0]))
        else:
            api.auth.ChangePassword(change(), metadata=alice.metadata)
        api.auth.Login(login(alice.email, NEXT))  # from where it was changed
        assert told() == 1
        call(login(alice.email, NEXT).SerializeToString())
        assert told() == 2


def test_a_password_that_is_not_taken_does_not_use_the_link_up(api: Api, alice: Account) -> None:
    ask_reset(api, alice.email)
    [link] = links(api, "reset-password", "user_id", alice.id)
    found = refused(api.auth.ConfirmPasswordReset, choose(link, "password1"))
    assert (found.reason, found.fields) == ("PASSWORD_COMMON", ["new_password"])
    assert api.auth.ConfirmPasswordReset(choose(link)).user


def test_links_expire(api: Api, alice: Account, email: str) -> None:
    ask_reset(api, alice.email)
    api.auth.ChangeEmail(move(email), metadata=alice.metadata)
    [change_link] = links(api, "change-email", "user_id", alice.id)
    [reset_link] = links(api, "reset-password", "user_id", alice.id)
    api.execute(
        "UPDATE links SET create_time = now() - '2 days'::interval, expire_time = now() - '1 s'::interval "
        "WHERE user_id = %s",
        (alice.id,),
    )
    assert refused(api.auth.ConfirmPasswordReset, choose(reset_link)).reason == "LINK_INVALID"
    assert refused(api.auth.VerifyEmail, verify(change_link)).reason == "LINK_INVALID"


def test_a_link_opens_only_what_it_is_for(api: Api, alice: Account, email: str) -> None:
    api.auth.ChangeEmail(move(email), metadata=alice.metadata)
    [change_link] = links(api, "change-email", "user_id", alice.id)
    ask_reset(api, alice.email)
    [reset_link] = links(api, "reset-password", "user_id", alice.id)
    assert refused(api.auth.ConfirmPasswordReset, choose(change_link)).reason == "LINK_INVALID"
    assert refused(api.auth.VerifyEmail, verify(reset_link)).reason == "LINK_INVALID"


def test_links_opened_at_once_work_once(api: Api, alice: Account) -> None:
    for _ in range(2):
        ask_reset(api, alice.email)
    tokens = links(api, "reset-password", "user_id", alice.id)

    def one(token: str) -> str:
        try:
            return str(api.auth.ConfirmPasswordReset(choose(token)).user)
        except grpc.RpcError as error:
            return refusal(error).reason

    with ThreadPoolExecutor(6) as callers:
        assert sorted(callers.map(one, tokens * 3)) == ["LINK_INVALID"] * 5 + [alice.name]


def test_an_unknown_address_is_asked_in_vain_and_not_told(api: Api, email: str) -> None:
    before = len(mails(api, "password_reset", "choose_password"))
    ask_reset(api, email)
    assert len(mails(api, "password_reset", "choose_password")) == before


def test_a_stranger_cannot_fill_a_mailbox(api: Api, alice: Account) -> None:
    for _ in range(8):
        ask_reset(api, alice.email)
    assert len(links(api, "reset-password", "user_id", alice.id)) == 5


def test_a_new_address_counts_once_its_link_is_opened_and_both_are_told(api: Api, alice: Account, email: str) -> None:
    ask_reset(api, alice.email)
    api.auth.ChangeEmail(move(email.upper()), metadata=alice.metadata)
    [link] = links(api, "change-email", "user_id", alice.id)
    assert [mail["template"] for mail in mails(api, "email_change", "email_change_requested")][-2:] == [
        "email_change_requested",
        "email_change",
    ]
    assert api.users.GetUser(ME, metadata=alice.metadata).email == alice.email
    before = api.users.GetUser(ME, metadata=alice.metadata).etag
    assert api.auth.VerifyEmail(verify(link)).user == alice.name
    after = api.users.GetUser(ME, metadata=alice.metadata)
    assert after.email == email
    assert after.etag != before
    assert [mail["recipient"] for mail in mails(api, "email_changed")[-2:]] == ["old", "new"]
    assert refused(api.auth.Login, login(alice.email, PASSWORD)).reason == "CREDENTIALS_INVALID"
    assert api.auth.Login(login(email, PASSWORD)).user == alice.name
    assert refused(api.auth.VerifyEmail, verify(link)).reason == "LINK_INVALID"
    assert links(api, "reset-password", "user_id", alice.id) == []  # they had gone to the old address
    assert [kind for kind in kinds(api, alice) if "email" in kind] == [
        "user.email_change_requested",
        "user.email_changed",
    ]


def test_a_taken_address_answers_the_same_and_its_owner_is_told(api: Api, alice: Account, bob: Account) -> None:
    api.auth.ChangeEmail(move(bob.email), metadata=alice.metadata)
    assert mails(api, "already_registered")[-1]["user"] == str(bob.id)
    assert mails(api, "email_change_requested")  # the caller's own address is told as ever
    assert [
        mail for mail in mails(api, "email_change") if mail["link"] in str(mails(api, "email_change_requested")[-1])
    ] == []
    own = refused(api.auth.ChangeEmail, move(alice.email), metadata=alice.metadata)
    assert (own.reason, own.fields) == ("EMAIL_UNCHANGED", ["email"])


def test_an_address_that_was_taken_in_the_meantime_is_not_changed_to(api: Api, alice: Account, email: str) -> None:
    api.auth.ChangeEmail(move(email), metadata=alice.metadata)
    [link] = links(api, "change-email", "user_id", alice.id)
    api.execute("INSERT INTO users (id, email, password_hash) VALUES (%s, %s, 'x')", (uuid.uuid4(), email))
    assert refused(api.auth.VerifyEmail, verify(link)).reason == "LINK_INVALID"
    assert api.users.GetUser(ME, metadata=alice.metadata).email == alice.email


def test_a_change_of_the_password_withdraws_a_change_of_the_address(api: Api, alice: Account, email: str) -> None:
    api.auth.ChangeEmail(move(email), metadata=alice.metadata)
    [link] = links(api, "change-email", "user_id", alice.id)
    api.auth.ChangePassword(change(), metadata=alice.metadata)
    assert refused(api.auth.VerifyEmail, verify(link)).reason == "LINK_INVALID"


def test_whoever_knows_the_password_cannot_keep_its_owner_from_choosing_another(
    api: Api, alice: Account, email: str
) -> None:
    ask_reset(api, alice.email)
    [token] = links(api, "reset-password", "user_id", alice.id)
    api.auth.ChangeEmail(move(email), metadata=alice.metadata)
    assert api.auth.ConfirmPasswordReset(choose(token)).user == alice.name


def register(api: Api, email: str, password: str) -> None:
    api.auth.Register(auth_service_pb2.RegisterRequest(email=email, password=password))


def resend(api: Api, email: str) -> None:
    api.auth.ResendVerification(auth_service_pb2.ResendVerificationRequest(email=email))


@pytest.mark.parametrize("ask", [resend, ask_reset])
def test_of_several_registrations_none_is_chosen_by_asking_again(api: Api, email: str, ask: Any) -> None:
    """Who registered last must not decide on the password: whoever reads the mail does."""
    register(api, email, "the owner's password")
    register(api, email, "the stranger's password")
    ask(api, email)
    [link] = links(api, "reset-password", "email", email)
    user = api.auth.ConfirmPasswordReset(choose(link)).user
    for password in ("the owner's password", "the stranger's password"):
        assert refused(api.auth.Login, login(email, password)).reason == "CREDENTIALS_INVALID"
    assert api.auth.Login(login(email, NEXT)).user == user
    assert api.execute("SELECT count(*) FROM registrations WHERE email = %s", (email,)) == [(0,)]


def test_a_registration_that_expired_lately_still_says_that_there_were_several(api: Api, email: str) -> None:
    register(api, email, "the owner's password")
    api.execute(
        "UPDATE registrations SET create_time = now() - '2 days'::interval, expire_time = now() - '1 day'::interval "
        "WHERE email = %s",
        (email,),
    )
    register(api, email, "the stranger's password")
    resend(api, email)
    assert len(links(api, "reset-password", "email", email)) == 1


def test_links_of_an_address_opened_at_once_make_one_account(api: Api, email: str) -> None:
    for number in range(2):
        register(api, email, f"password number {number}")
    resend(api, email)
    ask_reset(api, email)
    chosen = links(api, "reset-password", "email", email)
    rows = api.execute("SELECT id FROM registrations WHERE email = %s", (email,))
    confirmed = [Secrets(SECRET).link_token("verify-email", row[0]) for row in rows]
    calls: list[tuple[Any, Any]] = [
        *((api.auth.ConfirmPasswordReset, choose(token)) for token in chosen),
        *((api.auth.VerifyEmail, verify(token)) for token in confirmed),
    ]
    assert len(calls) == 4

    def one(call: tuple[Any, Any]) -> str:
        try:
            return str(call[0](call[1]).user)
        except grpc.RpcError as error:
            return refusal(error).reason

    with ThreadPoolExecutor(4) as callers:
        outcomes = sorted(callers.map(one, calls))
    assert outcomes[:3] == ["LINK_INVALID"] * 3
    assert outcomes[3].startswith("users/")
