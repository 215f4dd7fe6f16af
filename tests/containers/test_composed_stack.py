"""What docker-compose.yml promises, on a real Docker: `make containers`. It takes minutes and needs a daemon."""

from __future__ import annotations

import json
import shutil
import time
import urllib.request

import pytest

from devstack.demo.doors import BufDoor, Door, GrpcurlDoor, StubDoor
from devstack.demo.main_job import MainJob
from devstack.demo.rest import RestDoor
from tests.containers.composed import SERVICES, ComposedStack, docker
from tests.support.servers import eventually

STOP_SECONDS = 10.0
DOORS = ["stub", "buf", "rest", *(["grpcurl"] if shutil.which("grpcurl") else [])]
#: Our own, which are stopped and killed.
OURS = ("api", "worker", "mailbox")


def main_job(composed: ComposedStack, admin: dict[str, str], name: str = "rest") -> int:
    """Does it through a door, and returns how many steps it took."""
    steps: list[str] = []
    MainJob(door(name, composed), composed.mailbox, admin, lambda title, *_: steps.append(title)).run()
    return len(steps)


def door(name: str, composed: ComposedStack) -> Door:
    match name:
        case "stub":
            return StubDoor(composed.grpc)
        case "buf":
            return BufDoor(composed.grpc)
        case "grpcurl":
            return GrpcurlDoor(composed.grpc)
        case _:
            return RestDoor(composed.rest)


@pytest.mark.parametrize("name", DOORS)
def test_the_main_job(composed: ComposedStack, composed_admin: dict[str, str], name: str) -> None:
    assert main_job(composed, composed_admin, name) > 20


@pytest.mark.parametrize("service", SERVICES)
def test_nothing_runs_as_root_or_with_a_capability(composed: ComposedStack, service: str) -> None:
    status = composed.execute(service, "cat", "/proc/1/status").stdout
    facts = {name: value.split() for name, _, value in (line.partition(":") for line in status.splitlines())}
    assert "0" not in facts["Uid"] + facts["Gid"]
    assert all(int(facts[name][0], 16) == 0 for name in ("CapPrm", "CapEff", "CapBnd"))
    assert facts["NoNewPrivs"] == ["1"]


@pytest.mark.parametrize("service", SERVICES)
def test_the_root_file_system_is_read_only(composed: ComposedStack, service: str) -> None:
    for path in ("/x", "/etc/x", "/usr/local/bin/x", "/var/x"):
        assert composed.execute(service, "touch", path).returncode != 0
    mounts = [line.split() for line in composed.execute(service, "cat", "/proc/mounts").stdout.splitlines()]
    assert [options.split(",")[0] for _, path, _, options, *_ in mounts if path == "/"] == ["ro"]


@pytest.mark.parametrize("service", OURS)
def test_our_code_belongs_to_somebody_else(composed: ComposedStack, service: str) -> None:
    for path in ("/app", "/opt/venv/bin", "/opt/venv/lib/python3.11/site-packages"):
        assert composed.execute(service, "test", "-w", path).returncode != 0


def test_ports_are_published_on_loopback_alone(composed: ComposedStack) -> None:
    published = [
        binding["HostIp"]
        for service in SERVICES
        for bindings in composed.inspect(service)["NetworkSettings"]["Ports"].values()
        for binding in bindings or []
    ]
    assert len(published) == len(composed.ports)
    assert set(published) == {"127.0.0.1"}


def test_what_runs_once_has_run(composed: ComposedStack) -> None:
    for service in ("migrate", "gateway-config"):
        state = composed.inspect(service)["State"]
        assert (state["Status"], state["ExitCode"]) == ("exited", 0)


@pytest.mark.parametrize(("port", "metric"), [("METRICS", "taskhub_calls_total"), ("WORKER_METRICS", "taskhub_jobs")])
def test_metrics_are_served(composed: ComposedStack, port: str, metric: str) -> None:
    def found() -> bool:
        with urllib.request.urlopen(f"http://127.0.0.1:{composed.ports[port]}/metrics", timeout=5) as page:
            return metric in page.read().decode()

    assert eventually(found)


@pytest.mark.parametrize("service", OURS)
def test_a_killed_service_comes_back(composed: ComposedStack, service: str, composed_admin: dict[str, str]) -> None:
    before = composed.inspect(service)
    # From within, as a crash does it: what `docker kill` has killed, Docker leaves dead.
    composed.execute(service, "sh", "-c", "kill -9 $(cat /proc/1/task/1/children)")
    eventually(lambda: composed.inspect(service)["RestartCount"] > before["RestartCount"], 60)
    composed.await_healthy(service)
    eventually(lambda: main_job(composed, composed_admin) > 20, 60)


@pytest.mark.parametrize("service", OURS)
def test_sigterm_ends_a_service_in_time(composed: ComposedStack, service: str) -> None:
    began = time.monotonic()
    composed.compose("stop", service)
    took = time.monotonic() - began
    code = composed.inspect(service)["State"]["ExitCode"]
    composed.compose("start", service)
    composed.await_healthy(service)
    assert code == 0, f"it was killed, or failed: {code}"
    assert took < STOP_SECONDS


def test_a_lost_redis_loses_nothing(composed: ComposedStack, composed_admin: dict[str, str]) -> None:
    composed.compose("stop", "redis")
    answer = door("rest", composed).call("TaskService/ListTasks", {}, composed_admin)
    composed.compose("start", "redis")
    assert answer.status == "OK"
    eventually(lambda: main_job(composed, composed_admin) > 20, 90)


def test_a_lost_database_is_said_and_outlived(composed: ComposedStack, composed_admin: dict[str, str]) -> None:
    composed.compose("stop", "postgres")
    eventually(lambda: composed.execute("api", "python", "-m", "api_service", "health").returncode == 1, 30)
    answer = door("stub", composed).call("TaskService/ListTasks", {}, composed_admin)
    composed.compose("start", "postgres")
    assert answer.status == "UNAVAILABLE"
    composed.await_healthy("api")
    eventually(lambda: main_job(composed, composed_admin) > 20, 90)


def test_a_worker_that_dies_over_and_over_is_not_healthy(composed: ComposedStack) -> None:
    name = "taskhub-test-broken-worker"
    broken = ("-e", "TASKHUB_BROKER_URL=no-such-broker://nowhere", "--name", name)
    try:
        composed.compose("run", "-d", "--no-deps", *broken, "worker")

        def given_up() -> bool:
            state = json.loads(docker("inspect", "-f", "{{json .State}}", name).stdout)
            return bool(state["Health"]["Status"] == "unhealthy")

        assert eventually(given_up, 120)
    finally:
        docker("rm", "-f", name, check=False)


def test_the_images_say_what_they_are(composed: ComposedStack) -> None:
    for service in OURS:
        config = composed.inspect(service)["Config"]
        assert config["Labels"]["org.opencontainers.image.title"] == f"taskhub-{service}"
        assert config["User"] == "10001:10001"
        assert config["StopSignal"] == "SIGTERM"
