"""Signing keys: rotated without an outage, revoked at once, by the command of an operator."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import grpc
import jwt
import pytest
from taskhub.v1 import auth_service_pb2, user_service_pb2

from api_service.keys.ring import REFRESH_SECONDS
from api_service.keys.rotation import JWKS_CACHE_SECONDS
from tests.support.api import Account, Api, Metadata
from tests.support.servers import PATIENCE, ROOT, Postgres, Processes, eventually, free_port

ME = user_service_pb2.GetUserRequest(name="users/me")


@pytest.fixture(scope="module")
def api(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """Two processes of its own: other tests expect their key to stay."""
    processes = Processes(tmp_path_factory.mktemp("keys"))
    with postgres.clone() as url:
        api = Api(processes, url)
        yield api
        api.close()
        processes.stop()


def keys(api: Api, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Runs `python -m api_service keys …`."""
    return subprocess.run(  # noqa: S603
        [sys.executable, "-m", "api_service", "keys", *arguments],
        env={**os.environ, **api.environment, **settings},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def states(listed: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """Returns the state of each key that the command printed, by its id."""
    assert (listed.returncode, listed.stderr) == (0, "")
    return dict(line.split()[:2] for line in listed.stdout.splitlines()[1:])


def published(api: Api) -> list[str]:
    return [key.kid for key in api.auth.GetJwks(auth_service_pb2.GetJwksRequest()).keys]


def kid_of(metadata: Metadata) -> str:
    return str(jwt.get_unverified_header(metadata[0][1].removeprefix("Bearer "))["kid"])


def everywhere(api: Api, metadata: Metadata) -> set[str]:
    """Returns what calls with a token meet, over enough connections to reach both processes."""
    found = set()
    for _ in range(8):
        with api.connect() as channel:
            call: Any = channel.unary_unary("/taskhub.v1.UserService/GetUser")
            try:
                call(ME.SerializeToString(), metadata=metadata)
                found.add("OK")
            except grpc.RpcError as error:
                found.add(error.code().name)
    return found


def renewed(api: Api, account: Account) -> Account:
    """Returns the account with the next token of its session."""
    request = auth_service_pb2.RefreshTokenRequest(refresh_token=account.refresh_token)
    tokens = api.auth.RefreshToken(request).tokens
    bearer = ("authorization", f"Bearer {tokens.access_token}")
    return Account(account.id, account.email, (bearer,), tokens.refresh_token)


def test_a_rotated_key_is_published_before_it_signs_and_after_it_has_signed(api: Api) -> None:
    alice = api.account()
    [old] = states(keys(api, "list"))
    found = states(keys(api, "rotate"))
    [new] = set(found) - {old}
    assert found == {old: "signs", new: "next"}
    eventually(lambda: {old, new} == set(published(api)))
    assert kid_of(renewed(api, api.account()).metadata) == old
    [(ahead, after)] = api.execute(
        """
        SELECT extract(epoch FROM new.sign_from_time - now()), extract(epoch FROM old.expire_time - new.sign_from_time)
        FROM signing_keys old, signing_keys new WHERE old.kid = %s AND new.kid = %s
        """,
        (old, new),
    )
    assert ahead > JWKS_CACHE_SECONDS + REFRESH_SECONDS
    assert after > 900 + JWKS_CACHE_SECONDS + REFRESH_SECONDS

    api.execute("UPDATE signing_keys SET sign_from_time = now() WHERE kid = %s", (new,))
    eventually(lambda: kid_of(api.account().metadata) == new)
    assert everywhere(api, alice.metadata) == {"OK"}, "tokens of the old key go on"
    assert states(keys(api, "list")) == {old: "retired", new: "signs"}

    api.execute("UPDATE signing_keys SET expire_time = now() WHERE kid = %s", (old,))
    eventually(lambda: everywhere(api, alice.metadata) == {"UNAUTHENTICATED"})
    assert published(api) == [new]
    assert states(keys(api, "prune")) == {new: "signs"}
    assert api.execute("SELECT kid FROM signing_keys") == [(new,)]


def test_the_tokens_of_a_revoked_key_end_and_its_sessions_go_on(api: Api) -> None:
    alice = api.account()
    assert everywhere(api, alice.metadata) == {"OK"}, "every process has its signature cached"
    old = kid_of(alice.metadata)
    found = states(keys(api, "revoke", old))
    assert old not in found
    assert list(found.values()) == ["signs"]
    eventually(lambda: everywhere(api, alice.metadata) == {"UNAUTHENTICATED"})
    again = renewed(api, alice)
    assert kid_of(again.metadata) in found
    assert everywhere(api, again.metadata) == {"OK"}


def test_a_new_keys_token_is_good_in_a_process_that_has_not_seen_it_yet(api: Api) -> None:
    before = kid_of(api.account().metadata)
    keys(api, "revoke", before)

    def fresh() -> Account | None:
        account = api.account()
        return account if kid_of(account.metadata) != before else None

    account = eventually(fresh)
    assert account is not None
    assert everywhere(api, account.metadata) == {"OK"}


def test_whoever_was_to_sign_next_takes_over_from_a_revoked_key(api: Api) -> None:
    [old] = states(keys(api, "list"))
    [new] = set(states(keys(api, "rotate"))) - {old}
    assert states(keys(api, "revoke", old)) == {new: "signs"}


def test_a_revoked_key_that_was_to_sign_next_is_replaced(api: Api) -> None:
    [old] = states(keys(api, "list"))
    [new] = set(states(keys(api, "rotate"))) - {old}
    found = states(keys(api, "revoke", new))
    assert (found.pop(old), list(found.values())) == ("signs", ["next"])
    keys(api, "revoke", old)


def test_an_age_that_is_set_rotates_by_itself_and_once(processes: Processes, database_url: str) -> None:
    first = Api(processes, database_url, TASKHUB_API_PROCESSES="1")
    first.close()
    processes.stop()
    [old] = states(keys(first, "list"))
    first.execute("UPDATE signing_keys SET create_time = now() - interval '31 days'")
    environment = first.environment | {"TASKHUB_SIGNING_KEY_DAYS": "30", "TASKHUB_API_PROCESSES": "3"}
    processes.start("api_service", environment=environment)
    first.channel = first.connect()
    first.auth = type(first.auth)(first.channel)
    eventually(first.serving)
    eventually(lambda: len(first.execute("SELECT 1 FROM signing_keys")) > 1)
    [(kid, _)] = [each for each in states(keys(first, "list")).items() if each[0] != old]
    assert states(keys(first, "list")) == {old: "signs", kid: "next"}
    eventually(lambda: set(published(first)) == {old, kid})
    first.close()


def test_every_change_is_in_the_log_of_events(api: Api) -> None:
    [old] = states(keys(api, "list"))
    keys(api, "rotate")
    keys(api, "revoke", old)
    rows = api.execute("SELECT kind, resource, actor FROM events WHERE kind ~ '^signingkey' ORDER BY id DESC LIMIT 2")
    assert rows[0] == ("signingkey.revoked", f"signingKeys/{old}", "operator")
    assert rows[1][0] == "signingkey.rotated"


def test_what_cannot_be_done_is_one_line(api: Api) -> None:
    away = {"TASKHUB_DATABASE_URL": f"postgresql://a@127.0.0.1:{free_port()}/a"}
    other = {"TASKHUB_SECRET_KEY": "another secret key, long enough as well"}
    for arguments, settings, said in (
        (["revoke", "unknown"], {}, "taskhub: There is no signing key with this id."),
        (["rotate"], away, "taskhub: TASKHUB_DATABASE_URL cannot be reached"),
        (["rotate"], other, "taskhub: TASKHUB_SECRET_KEY did not seal"),
    ):
        done = keys(api, *arguments, **settings)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(said)
        assert done.stderr.count("\n") == 1


def test_another_secret_key_is_said_in_one_line_and_can_be_begun_with(processes: Processes, database_url: str) -> None:
    first = Api(processes, database_url, TASKHUB_API_PROCESSES="1")
    first.close()
    processes.stop()
    environment = first.environment | {"TASKHUB_SECRET_KEY": "another secret key, long enough as well"}
    process = processes.start("api_service", environment=environment)
    assert process.wait(PATIENCE) == 2
    said = [line for line in processes.log(process).splitlines() if not line.startswith("{")]
    assert [line.partition(" did not seal")[0] for line in said] == ["taskhub: TASKHUB_SECRET_KEY"]
    assert list(states(keys(first, "revoke", "--all", **environment)).values()) == ["signs"]
    first.process = processes.start("api_service", environment=environment)
    first.channel = first.connect()
    eventually(first.serving)
    first.close()
