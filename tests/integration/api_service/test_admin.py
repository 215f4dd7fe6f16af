"""The command that makes administrators."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid

import pytest
from taskhub.v1 import auth_service_pb2, user_pb2, user_service_pb2

from tests.support.api import Account, Api, refused
from tests.support.servers import ROOT, free_port

ME = user_service_pb2.GetUserRequest(name="users/me")


def create(api: Api, email: str, password: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603
        [sys.executable, "-m", "api_service", "admin", "create", "--email", email],
        env={**os.environ, **api.environment, **settings},
        cwd=ROOT,
        input=f"{password}\n",
        capture_output=True,
        text=True,
        check=False,
    )


def role(api: Api, email: str, password: str) -> int:
    tokens = api.auth.Login(auth_service_pb2.LoginRequest(email=email, password=password)).tokens
    return int(api.users.GetUser(ME, metadata=[("authorization", f"Bearer {tokens.access_token}")]).role)


def test_a_new_address_becomes_an_administrator_who_can_sign_in(api: Api) -> None:
    email = f"{uuid.uuid4().hex}@example.com"
    made = create(api, email.upper(), "the first password")
    assert (made.returncode, made.stderr) == (0, "")
    assert made.stdout.startswith("users/")
    assert role(api, email, "the first password") == user_pb2.User.ADMIN


def test_an_account_becomes_an_administrator_with_the_new_password(api: Api, alice: Account) -> None:
    assert create(api, alice.email, "another password").stdout == f"{alice.name}\n"
    assert role(api, alice.email, "another password") == user_pb2.User.ADMIN


def test_whoever_was_signed_in_before_becomes_no_administrator(api: Api, alice: Account) -> None:
    """A refresh takes the account's role: a session of the old password would have become an administrator's."""
    create(api, alice.email, "another password")
    refresh = auth_service_pb2.RefreshTokenRequest(refresh_token=alice.refresh_token)
    assert refused(api.auth.RefreshToken, refresh).reason == "REFRESH_TOKEN_INVALID"
    kinds = api.execute("SELECT kind FROM events WHERE owner_id = %s AND actor = 'operator' ORDER BY id", (alice.id,))
    assert kinds == [("user.role_changed",), ("user.password_changed",), ("session.revoked",)]


@pytest.mark.parametrize(
    ("email", "password", "field"),
    [
        ("root", "long enough", "email"),
        ("ro ot@example.com", "long enough", "email"),
        ("a@example.com", "x", "password"),
        ("a@example.com", "password1", "password"),
        ("a@-.com", "long enough", "email"),
    ],
)
def test_what_could_never_sign_in_is_refused_in_one_line(api: Api, email: str, password: str, field: str) -> None:
    made = create(api, email, password)
    assert (made.returncode, made.stdout) == (1, "")
    assert made.stderr.startswith(f"taskhub: the {field} ")
    assert made.stderr.count("\n") == 1
    assert api.execute("SELECT 1 FROM users WHERE email = %s", (email,)) == []


def test_a_database_that_is_away_is_one_line(api: Api) -> None:
    made = create(api, "a@example.com", "long enough", TASKHUB_DATABASE_URL=f"postgresql://a@127.0.0.1:{free_port()}/a")
    assert made.returncode == 1
    assert made.stderr.startswith("taskhub: TASKHUB_DATABASE_URL ")
    assert made.stderr.count("\n") == 1
