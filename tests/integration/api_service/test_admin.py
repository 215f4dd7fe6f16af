"""The command that makes administrators."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid

import pytest
from taskhub.v1 import auth_service_pb2, user_pb2, user_service_pb2

from tests.support.api import Account, Api, refused
from tests.support.servers import ROOT, Postgres, free_port

ME = user_service_pb2.GetUserRequest(name="users/me")


def create(
    api: Api, email: str, password: str | bytes, *arguments: str, **settings: str
) -> subprocess.CompletedProcess[str]:
    line = (password if isinstance(password, bytes) else password.encode()) + b"\n"
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "api_service", "admin", "create", "--email", email, *arguments],
        env={**os.environ, **api.environment, **settings},
        cwd=ROOT,
        input=line,
        capture_output=True,
        check=False,
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


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


def test_the_same_call_again_changes_nothing_and_ends_nobodys_session(api: Api) -> None:
    email = f"{uuid.uuid4().hex}@example.com"
    first = create(api, email, "the first password")
    tokens = api.auth.Login(auth_service_pb2.LoginRequest(email=email, password="the first password")).tokens
    row = "SELECT u, (SELECT count(*) FROM events WHERE owner_id = u.id) FROM users u WHERE email = %s"
    before = api.execute(row, (email,))
    again = create(api, email, "the first password")
    assert (again.returncode, again.stdout, again.stderr) == (0, first.stdout, "")
    assert api.execute(row, (email,)) == before
    assert api.auth.RefreshToken(auth_service_pb2.RefreshTokenRequest(refresh_token=tokens.refresh_token)).tokens


def test_an_administrator_who_was_disabled_and_locked_can_sign_in_again(api: Api, alice: Account) -> None:
    api.execute("UPDATE users SET role = 'ADMIN', disable_time = now() WHERE id = %s", (alice.id,))
    login = auth_service_pb2.LoginRequest(email=alice.email, password="not this one")
    for _ in range(5):
        assert refused(api.auth.Login, login, metadata=[("user-agent", "elsewhere")]).code
    assert create(api, alice.email, "another password").returncode == 0
    assert role(api, alice.email, "another password") == user_pb2.User.ADMIN
    kinds = api.execute("SELECT kind FROM events WHERE owner_id = %s AND actor = 'operator' ORDER BY id", (alice.id,))
    assert kinds[:2] == [("user.enabled",), ("user.password_changed",)]


def test_the_password_comes_from_a_file_descriptor_and_is_read_to_the_end_of_its_line(api: Api) -> None:
    email = f"{uuid.uuid4().hex}@example.com"
    read, write = os.pipe()
    os.write(write, b"the first password\r\nand more")
    os.close(write)
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "api_service", "admin", "create", "--email", email, "--password-fd", str(read)],
        env={**os.environ, **api.environment},
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        pass_fds=[read],
        check=False,
    )
    os.close(read)
    assert done.returncode == 0
    assert role(api, email, "the first password") == user_pb2.User.ADMIN


def test_a_password_that_cannot_be_read_is_one_line(api: Api) -> None:
    for password, arguments, said in (
        (b"long enough \xff", [], "is not UTF-8"),
        (b"long enough", ["--password-fd", "99"], "cannot be read"),
    ):
        made = create(api, "a@example.com", password, *arguments)
        assert (made.returncode, made.stdout) == (1, "")
        assert made.stderr.startswith(f"taskhub: the password {said}")
        assert made.stderr.count("\n") == 1


def test_a_database_without_the_schema_is_one_line(api: Api, postgres: Postgres) -> None:
    made = create(api, "a@example.com", "long enough", TASKHUB_DATABASE_URL=postgres.url("postgres"))
    assert made.returncode == 1
    assert made.stderr.startswith("taskhub: the database is not ready")
    assert made.stderr.count("\n") == 1


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
