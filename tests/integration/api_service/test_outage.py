"""PostgreSQL gone, and back; processes killed, told to stop, and told nonsense. Redis is gone in every test here."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from taskhub.v1 import auth_service_pb2, task_service_pb2

from api_service.methods import methods
from tests.integration.api_service.samples import GOOD
from tests.support.api import PASSWORD, SECRET, Account, Api, refused
from tests.support.raw import Raw
from tests.support.servers import PATIENCE, ROOT, Postgres, Processes, eventually, free_port

#: These answer from memory, or hash before they ask.
FROM_MEMORY = {"AuthService/GetJwks"}


@pytest.fixture
def own(processes: Processes) -> Iterator[tuple[Api, Postgres]]:
    """An API with a PostgreSQL that it need not share."""
    server = Postgres(free_port())
    server.start()
    try:
        server.migrate()
        settings = {"TASKHUB_API_PROCESSES": "1", "TASKHUB_DATABASE_POOL_TIMEOUT": "0.8"}
        with_api = Api(processes, server.url("template_taskhub"), **settings)
        yield with_api, server
        with_api.close()
        processes.stop()
    finally:
        server.remove()


def test_without_postgresql_every_rpc_says_unavailable_at_once_and_recovers(own: tuple[Api, Postgres]) -> None:
    api, server = own
    alice = api.account("ADMIN")  # who may call everything
    requests = {path: sample(api, alice).SerializeToString() for path, sample in GOOD.items()}
    health: Any = health_pb2_grpc.HealthStub(api.channel)
    watched = health.Watch(health_pb2.HealthCheckRequest(service="taskhub.v1.TaskService"), timeout=600)
    assert next(watched).status == health_pb2.HealthCheckResponse.SERVING
    server.stop("immediate")
    answers = {method.path.removeprefix("/taskhub.v1."): Raw(api.channel, method) for method in methods()}

    def at_once(path: str) -> bool:
        began = time.monotonic()
        found = refused(answers[path], requests[path], metadata=alice.metadata, timeout=PATIENCE)
        assert (path, found.code, found.reason) == (path, grpc.StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE")
        assert found.retry_seconds
        return time.monotonic() - began < 2

    def late(path: str) -> bool:
        """Three times: once the machine may have had something else to do."""
        return not any(at_once(path) for _ in range(3))

    with ThreadPoolExecutor(4) as callers:
        paths = sorted(answers.keys() - FROM_MEMORY)
        assert [path for path, missed in zip(paths, callers.map(late, paths), strict=True) if missed] == []
    assert next(watched).status == health_pb2.HealthCheckResponse.NOT_SERVING
    server.start()
    assert next(watched).status == health_pb2.HealthCheckResponse.SERVING
    assert (
        api.tasks.ListTasks(task_service_pb2.ListTasksRequest(), metadata=alice.metadata, timeout=PATIENCE) is not None
    )


def test_a_connection_that_died_while_idle_is_no_callers_business(api: Api, alice: Account) -> None:
    for _ in range(5):
        idle = "application_name = 'taskhub-api' AND datname = current_database() AND state = 'idle'"
        # With a timeout it waits until the backend is gone.
        gone = api.execute(f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE {idle}")
        assert (True,) in gone, "nothing was there to die"
        api.task(alice)


def children(api: Api) -> list[int]:
    """Returns the pids of the server processes."""
    return [child.pid for child in psutil.Process(api.process.pid).children()]


def test_a_killed_process_is_named_and_brought_up_again(processes: Processes, database_url: str) -> None:
    api = Api(processes, database_url)
    alice = api.account()
    [first, second] = children(api)
    os.kill(first, signal.SIGKILL)
    eventually(lambda: len(children(api)) == 2 and first not in children(api))
    assert second in children(api)
    eventually(lambda: api.task(alice))
    assert f'"pid": {first}' in processes.log(api.process)


def test_sigterm_finishes_calls_in_flight_and_leaves_nothing(processes: Processes, database_url: str) -> None:
    api = Api(processes, database_url, TASKHUB_DRAIN_SECONDS="60")
    email = api.account().email
    calls = [api.auth.Login.future(auth_service_pb2.LoginRequest(email=email, password=PASSWORD)) for _ in range(20)]
    pids = children(api)
    calls[0].result()  # then the others are under way
    api.process.send_signal(signal.SIGTERM)
    assert all(call.result().tokens.access_token for call in calls)
    assert api.process.wait(PATIENCE) == 0
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []


def test_metrics_count_what_all_processes_answered(api: Api, alice: Account) -> None:
    def created() -> float:
        with urllib.request.urlopen(f"http://127.0.0.1:{api.metrics_port}/metrics", timeout=PATIENCE) as page:
            text = page.read().decode()
        lines = re.findall(r'taskhub_calls_total\{code="OK",method="/taskhub.v1.TaskService/CreateTask"\} (\S+)', text)
        return float(lines[0])

    api.task(alice)
    before = eventually(created)
    for _ in range(4):
        api.task(alice)
    eventually(lambda: created() >= before + 4)


def run(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs `python -m api_service` with nothing but this environment, to its end."""
    return subprocess.run(  # noqa: S603
        [sys.executable, "-m", "api_service", *arguments],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


@pytest.mark.parametrize("name", ["TASKHUB_DATABASE_URL", "TASKHUB_BROKER_URL", "TASKHUB_SECRET_KEY"])
def test_a_missing_setting_is_one_clear_line(name: str) -> None:
    environment = {
        "TASKHUB_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
        "TASKHUB_BROKER_URL": "redis://127.0.0.1:1/0",
        "TASKHUB_SECRET_KEY": SECRET,
    }
    del environment[name]
    done = run(environment)
    assert (done.returncode, done.stderr) == (2, f"taskhub: {name} is not set\n")


def test_a_taken_port_is_one_clear_line(api: Api) -> None:
    done = run(api.environment)
    assert done.returncode == 1
    assert done.stderr == f"taskhub: TASKHUB_GRPC_ADDRESS 127.0.0.1:{api.port}: Address already in use\n"
