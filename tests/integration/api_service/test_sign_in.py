"""Guessing passwords: who has to wait, what that tells, and what it costs others."""

from __future__ import annotations

import statistics
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from taskhub.v1 import auth_service_pb2, task_service_pb2

from tests.support.api import PASSWORD, Account, Api, Refusal, refused
from tests.support.metrics import metric
from tests.support.servers import PATIENCE, Processes, eventually


def login(email: str, password: str = PASSWORD) -> auth_service_pb2.LoginRequest:
    return auth_service_pb2.LoginRequest(email=email, password=password)


def fail(api: Api, email: str, times: int = 1) -> list[Refusal]:
    """Guesses, from a device that nobody knows."""
    with elsewhere(api) as channel:
        call = raw(channel)
        return [refused(call, login(email, "wrong password").SerializeToString()) for _ in range(times)]


def elsewhere(api: Api) -> grpc.Channel:
    """Returns a channel of a program that no account has been used with."""
    return grpc.insecure_channel(f"127.0.0.1:{api.port}", options=[("grpc.primary_user_agent", "stranger")])


def raw(channel: grpc.Channel) -> Any:
    return channel.unary_unary("/taskhub.v1.AuthService/Login")


@pytest.fixture
def email() -> str:
    return f"{uuid.uuid4().hex}@example.com"


def seen(found: Refusal) -> tuple[Any, ...]:
    """Returns everything that a caller sees, less how long exactly there is to wait."""
    waits = found.retry_seconds is not None and round(found.retry_seconds, -1)
    return (found.code, found.reason, found.message, found.fields, waits)


def test_the_fifth_failure_locks_known_and_unknown_addresses_alike(api: Api, alice: Account, email: str) -> None:
    known, unknown = fail(api, alice.email, 6), fail(api, email, 6)
    assert [found.reason for found in known] == ["CREDENTIALS_INVALID"] * 5 + ["SIGN_IN_LOCKED"]
    assert [seen(found) for found in known] == [seen(found) for found in unknown]
    assert known[5].code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert 0 < (known[5].retry_seconds or 0) <= 5


def test_a_locked_account_refuses_the_right_password_too(api: Api, alice: Account) -> None:
    fail(api, alice.email, 5)
    with elsewhere(api) as channel:
        found = refused(raw(channel), login(alice.email).SerializeToString())
    assert found.reason == "SIGN_IN_LOCKED"


def test_each_failure_after_a_lock_doubles_the_next_up_to_an_hour(api: Api, alice: Account) -> None:
    fail(api, alice.email, 5)
    newest = "SELECT lock_time - update_time FROM lockouts WHERE lock_time > now() ORDER BY update_time DESC LIMIT 1"
    waits = []
    for most in (5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600):
        [(locked,)] = api.execute(newest)
        waits.append((locked.total_seconds(), most))
        # A minute more, so that it still holds when the next call comes.
        api.execute("UPDATE lockouts SET lock_time = lock_time + '1 minute'::interval WHERE lock_time > now()")
        assert most - 5 < (fail(api, alice.email)[0].retry_seconds or 0) - 60 <= most
        api.execute("UPDATE lockouts SET lock_time = now() - '1 s'::interval WHERE lock_time > now()")
        fail(api, alice.email)
    assert [pair for pair in waits if round(pair[0]) != pair[1]] == []


def test_the_owner_goes_on_where_the_owner_has_signed_in_before(api: Api, alice: Account) -> None:
    fail(api, alice.email, 5)
    assert api.auth.Login(login(alice.email)).user == alice.name


def test_a_success_forgets_the_failures_before_it(api: Api, alice: Account) -> None:
    for _ in range(3):
        fail(api, alice.email, 4)
        with elsewhere(api) as channel:
            assert raw(channel)(login(alice.email).SerializeToString())


def test_guesses_that_arrive_at_once_learn_no_more_than_five_in_a_row(api: Api, alice: Account) -> None:
    with elsewhere(api) as channel, ThreadPoolExecutor(20) as callers:
        call = raw(channel)
        guesses = [login(alice.email, f"wrong password {n}").SerializeToString() for n in range(20)]
        reasons = list(callers.map(lambda guess: refused(call, guess, timeout=PATIENCE).reason, guesses))
    assert sorted(reasons) == ["CREDENTIALS_INVALID"] * 5 + ["SIGN_IN_LOCKED"] * 15


def test_a_lock_outlives_every_process_and_needs_no_redis(processes: Processes, database_url: str, email: str) -> None:
    api = Api(processes, database_url, TASKHUB_API_PROCESSES="1")  # its Redis is nowhere
    fail(api, email, 5)
    api.close()
    api.process.terminate()
    api.process.wait(PATIENCE)
    again = Api(processes, database_url, TASKHUB_API_PROCESSES="1")
    again.execute("UPDATE lockouts SET lock_time = lock_time + '1 minute'::interval")
    assert fail(again, email)[0].reason == "SIGN_IN_LOCKED"
    again.close()


def test_an_address_that_guesses_at_many_accounts_has_to_wait(processes: Processes, database_url: str) -> None:
    api = Api(processes, database_url, TASKHUB_API_PROCESSES="1", TASKHUB_LOCKOUT_ADDRESS_FAILURES="10")
    reasons = [fail(api, f"{n}@example.com")[0].reason for n in range(11)]
    assert reasons == ["CREDENTIALS_INVALID"] * 10 + ["SIGN_IN_LOCKED"]
    assert api.execute("SELECT count(*) FROM events WHERE kind = 'address.locked'") == [(1,)]
    api.close()


def test_the_audit_tells_of_sign_ins_failures_and_locks(api: Api, alice: Account) -> None:
    fail(api, alice.email, 5)
    rows = api.execute(
        "SELECT kind, actor, context FROM events WHERE owner_id = %s AND kind <> 'user.created' ORDER BY id",
        (alice.id,),
    )
    assert [row[:2] for row in rows] == [
        ("session.created", alice.name),
        *[("session.refused", "anonymous")] * 5,
        ("user.locked", "anonymous"),
    ]
    for _, _, context in rows:
        assert context["address"] == "127.0.0.1"
    assert rows[1][2]["user_agent"].startswith("stranger")


def test_nothing_that_is_kept_tells_which_addresses_were_tried(api: Api, email: str) -> None:
    fail(api, email, 2)
    for table in ("events", "lockouts"):
        assert email not in str(api.execute(f"SELECT {table}::text FROM {table}"))


def jobs(api: Api, account: Account, template: str) -> int:
    statement = "SELECT count(*) FROM jobs WHERE owner_id = %s AND args->>'template' = %s"
    return int(api.execute(statement, (account.id, template))[0][0])


def test_a_sign_in_from_a_new_device_is_told_once_and_the_first_of_all_is_not(api: Api, alice: Account) -> None:
    assert jobs(api, alice, "new_device") == 0
    for _ in range(2):
        with elsewhere(api) as channel:
            raw(channel)(login(alice.email).SerializeToString())
    assert jobs(api, alice, "new_device") == 1
    api.auth.Login(login(alice.email))
    assert jobs(api, alice, "new_device") == 1


def test_refusals_and_locks_are_counted(api: Api, alice: Account) -> None:
    guessed = r'taskhub_auth_refusals_total\{method="/taskhub.v1.AuthService/Login",reason="CREDENTIALS_INVALID"\}'
    refused_, locks = metric(api, guessed), metric(api, r'taskhub_lockouts_total\{subject="account"\}')
    fail(api, alice.email, 5)
    eventually(lambda: metric(api, guessed) >= max(refused_, 0) + 5)
    assert metric(api, r'taskhub_lockouts_total\{subject="account"\}') >= max(locks, 0) + 1


def test_known_and_unknown_addresses_take_alike(api: Api, alice: Account) -> None:
    """X3. Interleaved, so that whatever slows the machine down slows both; medians, so that no straggler counts."""
    api.execute("DELETE FROM lockouts")
    times: dict[str, list[float]] = {"known": [], "unknown": []}
    reasons = set()
    with elsewhere(api) as channel:
        call = raw(channel)
        for number in range(24):
            pair = [("known", alice.email), ("unknown", f"{uuid.uuid4().hex}@example.com")]
            for name, address in pair if number % 2 else reversed(pair):
                began = time.perf_counter()
                reasons.add(refused(call, login(address, "wrong password").SerializeToString()).reason)
                times[name].append(time.perf_counter() - began)
            api.execute("DELETE FROM lockouts")
    assert reasons == {"CREDENTIALS_INVALID"}
    known, unknown = (statistics.median(times[name]) for name in ("known", "unknown"))
    assert 0.5 < known / unknown < 2  # without hashing for nobody: above 5


def test_a_storm_of_sign_ins_starves_no_other_call(processes: Processes, database_url: str) -> None:
    settings = {"TASKHUB_PASSWORD_QUEUE": "20", "TASKHUB_LOCKOUT_ADDRESS_FAILURES": "1000000"}
    api = Api(processes, database_url, TASKHUB_API_PROCESSES="1", **settings)
    account = api.account()
    lists = task_service_pb2.ListTasksRequest()
    reasons: list[str] = []
    over = threading.Event()

    def guess() -> None:
        while not over.is_set():
            request = login(f"{uuid.uuid4().hex}@example.com", "wrong password")
            reasons.append(refused(api.auth.Login, request, timeout=PATIENCE).reason)

    with ThreadPoolExecutor(25) as callers:
        storm = [callers.submit(guess) for _ in range(25)]
        try:
            eventually(lambda: set(reasons) >= {"PASSWORDS_BUSY", "CREDENTIALS_INVALID"})  # it rages
            for _ in range(10):
                api.tasks.ListTasks(lists, metadata=account.metadata, timeout=PATIENCE)
        finally:
            over.set()
    assert [each.exception() for each in storm] == [None] * len(storm)
    assert set(reasons) == {"PASSWORDS_BUSY", "CREDENTIALS_INVALID"}
    api.close()


def test_a_password_is_hashed_anew_when_the_parameters_change(processes: Processes, database_url: str) -> None:
    api = Api(processes, database_url, TASKHUB_API_PROCESSES="1", TASKHUB_ARGON2_TIME_COST="3")
    account = api.account()  # whose hash was made with 2
    [(stored, version)] = api.execute("SELECT password_hash, password_version FROM users")
    assert "t=3" in stored
    assert version == 1
    assert api.auth.Login(login(account.email)).user == account.name
    assert api.execute("SELECT password_hash FROM users") == [(stored,)]
    api.close()
