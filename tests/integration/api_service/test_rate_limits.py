"""Limits as callers meet them, counted in a real Redis that is there, gone, frozen, emptied and back."""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any, TypeVar, cast

import grpc
import pytest
from taskhub.v1 import auth_service_pb2, task_service_pb2, task_service_pb2_grpc

from tests.support.api import PASSWORD, Account, Api, refusal, refused
from tests.support.metrics import metric
from tests.support.servers import PATIENCE, Postgres, Processes, Redis, eventually, free_port

T = TypeVar("T")

LIMIT = 120  # one comes free in half a second
LIST = task_service_pb2.ListTasksRequest()


class Limited(Api):
    """An API whose log can be read, and the Redis in which it counts."""

    def __init__(self, processes: Processes, database_url: str, redis: Redis, **settings: str) -> None:
        super().__init__(processes, database_url, TASKHUB_BROKER_URL=redis.url, **settings)
        self._processes = processes
        self.redis = redis

    def logged(self, event: str) -> int:
        """Returns how many lines there are of an event."""
        return self._processes.log(self.process).count(f'"{event}"')


@pytest.fixture(scope="module")
def own_redis() -> Iterator[Redis]:
    server = Redis(free_port())
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def limited(postgres: Postgres, own_redis: Redis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Limited]:
    """An API of two processes that counts in Redis."""
    processes = Processes(tmp_path_factory.mktemp("limited"))
    settings = {
        "TASKHUB_RATE_LIMIT_READ": str(LIMIT),
        "TASKHUB_RATE_LIMIT_WRITE": "100000",
        "TASKHUB_RATE_LIMIT_ANONYMOUS": "20",
        "TASKHUB_RATE_LIMIT_SIGN_IN": "6",
        "TASKHUB_RATE_LIMIT_MAIL": "5",
    }
    with postgres.clone() as url:
        api = Limited(processes, url, own_redis, **settings)
        eventually(lambda: degraded(api) == 0)
        yield api
        api.close()
        processes.stop()


@pytest.fixture
def api(limited: Limited) -> Limited:
    limited.redis.command("FLUSHALL")
    return limited


@pytest.fixture
def caller(api: Api) -> Account:
    return api.account()


def degraded(api: Api) -> float:
    return metric(api, "taskhub_rate_limit_degraded")


def admitted(api: Api, account: Account, calls: int, connections: int = 1) -> int:
    """Calls so often on each of the connections at the same time; returns how often that was answered."""

    def one(_: int) -> int:
        answered = 0
        with api.connect() as channel:
            stub = task_service_pb2_grpc.TaskServiceStub(channel)  # type: ignore[no-untyped-call]
            for _ in range(calls):
                try:
                    stub.ListTasks(LIST, metadata=account.metadata, timeout=PATIENCE)
                except grpc.RpcError as error:
                    if error.code() != grpc.StatusCode.RESOURCE_EXHAUSTED:
                        raise
                else:
                    answered += 1
        return answered

    with ThreadPoolExecutor(connections) as threads:
        return sum(threads.map(one, range(connections)))


def exhausted(api: Api, account: Account) -> grpc.RpcError:
    """Calls until that is refused, and returns the refusal."""

    def refused() -> grpc.RpcError | None:
        try:
            api.tasks.ListTasks(LIST, metadata=account.metadata, timeout=PATIENCE)
        except grpc.RpcError as error:
            return error
        return None

    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if (error := refused()) is not None:
            return error
    raise AssertionError("nothing was refused")


def undisturbed(api: Limited, trial: Callable[[], T]) -> T:
    """Returns what the trial does, tried again if Redis did not answer in time meanwhile: then nobody is limited."""
    for _ in range(10):
        eventually(lambda: degraded(api) == 0)
        lines = api.logged("rate_limits_degraded")
        api.redis.command("FLUSHALL")
        found = trial()
        if degraded(api) == 0 and api.logged("rate_limits_degraded") == lines:
            return found
    raise AssertionError("Redis is too slow for this test")


def test_processes_share_one_limit(api: Limited) -> None:
    def answered() -> tuple[int, float]:
        caller, began = api.account(), time.monotonic()
        found = admitted(api, caller, 60, connections=6)
        return found, (time.monotonic() - began) * LIMIT / 60

    found, refilled = undisturbed(api, answered)
    # A process may hold back what it has leased, and admit what it did not know to be gone.
    assert LIMIT * 0.8 <= found <= LIMIT * 1.1 + refilled


def test_a_refusal_says_how_long_to_wait_and_of_what(api: Api, caller: Account) -> None:
    error = exhausted(api, caller)
    found = refusal(error)
    trailers: dict[str, Any] = dict(cast("Any", error.trailing_metadata()))
    assert (found.code, found.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED")
    assert found.request_id
    assert found.retry_seconds is not None
    assert 0 < found.retry_seconds < 5
    assert trailers["ratelimit-policy"] == f'"read";q={LIMIT};w=60'
    assert re.fullmatch(r'"read";r=0;t=[1-5]', trailers["ratelimit"])
    assert metric(api, r'taskhub_rate_limit_refusals_total\{rate="read"\}') > 0


def test_one_caller_is_no_others_business(api: Limited, caller: Account) -> None:
    def others() -> tuple[int, float]:
        exhausted(api, caller)
        api.task(caller)  # writes are counted apart
        again, began = api.sign_in(caller.id, caller.email), time.monotonic()
        found = admitted(api, again, 60)
        return found, (time.monotonic() - began) * LIMIT / 60

    found, refilled = undisturbed(api, others)
    assert found < 30 + refilled, "the same account, however often it signs in"
    assert admitted(api, api.account(), 1) == 1


def test_a_refused_call_may_come_again_when_it_was_told(api: Limited, caller: Account) -> None:
    def early_and_late() -> tuple[bool, bool]:
        """Whether a call was answered before its time, and whether one that began after it was not."""
        wait = refusal(exhausted(api, caller)).retry_seconds
        assert wait
        end = time.monotonic() + wait
        while True:
            began = time.monotonic()
            try:
                api.tasks.ListTasks(LIST, metadata=caller.metadata, timeout=PATIENCE)
            except grpc.RpcError:
                if began > end + 0.1:
                    return False, True
            else:
                return time.monotonic() < end - 0.1, False

    assert undisturbed(api, early_and_late) == (False, False)


def test_anonymous_calls_are_counted_by_address(api: Limited) -> None:
    def counted() -> tuple[int, int, float]:
        eventually(lambda: _jwks(api) == "OK")  # a trial before may still weigh
        api.redis.command("FLUSHALL")
        began = time.monotonic()
        plain = [_jwks(api) for _ in range(40)]
        forged = [_jwks(api, ("x-forwarded-for", f"6.6.6.{number}")) for number in range(40)]
        return plain.count("OK"), forged.count("OK"), (time.monotonic() - began) * 20 / 60

    plain, forged, refilled = undisturbed(api, counted)
    assert 18 <= plain <= 24 + refilled
    assert forged <= 1 + refilled


def _jwks(api: Api, *metadata: tuple[str, str]) -> str:
    try:
        api.auth.GetJwks(auth_service_pb2.GetJwksRequest(), metadata=metadata)
    except grpc.RpcError as error:
        return str(error.code().name)
    return "OK"


def test_an_emptied_redis_forgets_and_goes_on(api: Api, own_redis: Redis, caller: Account) -> None:
    exhausted(api, caller)
    own_redis.command("FLUSHALL")
    own_redis.command("SCRIPT", "FLUSH")
    eventually(lambda: admitted(api, caller, 10) == 10)
    exhausted(api, caller)
    eventually(lambda: degraded(api) == 0)


@pytest.mark.parametrize("held", ["SET {} garbage", "SET {} nan", "SET {} inf", "SET {} 9e18", "RPUSH {} a list"])
def test_what_else_a_key_holds_neither_lifts_a_limit_nor_locks_anybody_out(api: Limited, held: str) -> None:
    def waits() -> float | None:
        caller = api.account()
        api.redis.command(held.format(f"taskhub:rate:read:{caller.name}"))
        return refusal(exhausted(api, caller)).retry_seconds

    seconds = undisturbed(api, waits)  # one caller's key has not switched the limits off
    assert seconds is not None
    assert 0 < seconds <= 2 * 60


def test_a_key_without_an_end_gets_one(api: Limited) -> None:
    change = auth_service_pb2.ChangePasswordRequest(current_password="wrong", new_password=PASSWORD)

    def left() -> int:
        caller = api.account()
        key = f"taskhub:rate:sign-in:{caller.name}"
        api.redis.command("SET", key, "inf")
        assert refused(api.auth.ChangePassword, change, metadata=caller.metadata).reason == "RATE_LIMITED"
        return int(api.redis.command("PTTL", key)[1:])

    assert 0 < undisturbed(api, left) <= 2 * 60_000


@pytest.mark.parametrize("fault", ["gone", "frozen"])
def test_without_redis_nobody_is_limited_and_nobody_waits(
    api: Limited, own_redis: Redis, caller: Account, fault: str
) -> None:
    exhausted(api, caller)
    login = auth_service_pb2.LoginRequest(email=caller.email, password=PASSWORD)
    (own_redis.kill if fault == "gone" else own_redis.freeze)()
    try:
        seconds = [_timed(api, login) for _ in range(12)]
        eventually(lambda: degraded(api) == 2)
        later = [_timed(api, login) for _ in range(12)]
        assert admitted(api, caller, LIMIT, connections=4) == LIMIT * 4
        told = api.logged("rate_limits_degraded") - api.logged("rate_limits_restored")
        assert told == 2, "one line a process"
    finally:
        (own_redis.start if fault == "gone" else own_redis.thaw)()
    # Most of it is the password. The first ones may have waited for Redis, as long as a sign-in waits for it.
    assert statistics.median(seconds) < 2 * statistics.median(later) + 0.1
    eventually(lambda: degraded(api) == 0)
    exhausted(api, caller)


def _timed(api: Api, login: auth_service_pb2.LoginRequest) -> float:
    began = time.monotonic()
    api.auth.Login(login)
    return time.monotonic() - began


def test_signing_in_is_limited_to_the_call(api: Api) -> None:
    # Each at another account: the fifth failure at one would lock it. Whom Redis does not answer at once is admitted.
    numbers = count()

    def sign_in() -> str:
        request = auth_service_pb2.LoginRequest(email=f"{next(numbers)}@example.com", password=PASSWORD)
        return refused(api.auth.Login, request).reason

    assert [sign_in() for _ in range(6)] == ["CREDENTIALS_INVALID"] * 6
    eventually(lambda: sign_in() == "RATE_LIMITED")
    register = auth_service_pb2.RegisterRequest(email="new@example.com", password=PASSWORD)
    for _ in range(5):
        api.auth.Register(register)
    eventually(lambda: refused(api.auth.Register, register).reason == "RATE_LIMITED")
