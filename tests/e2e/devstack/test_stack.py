"""The embedded run from outside: what `make run` starts, killed and stopped in every way that a person might."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from devstack import postgres, process
from tests.support.servers import PATIENCE, eventually

CHILDREN = ("postgres", "redis", "mailbox", "api", "envoy", "worker")
FREE = {f"TASKHUB_{name}_ADDRESS": "127.0.0.1:0" for name in ("GRPC", "REST", "METRICS", "WORKER_METRICS", "MAILBOX")}


class Running:
    """A run of `python -m devstack` on free ports."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self.output = folder / "output"

    def start(self) -> None:
        with self.output.open("w") as output:
            self.process = self.popen(output)
        eventually(lambda: self.told("ready\n") or self.process.poll() is not None, 300)
        assert self.process.poll() is None, self.output.read_text()

    def popen(self, output: Any, **settings: str) -> subprocess.Popen[str]:
        others = {name: value for name, value in os.environ.items() if not name.startswith("TASKHUB_")}
        environment = {**others, **FREE, "TASKHUB_DATA_DIR": str(self.data), **settings}
        command = [sys.executable, "-m", "devstack", "--quiet"]
        return subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT, text=True)  # noqa: S603

    def refused(self, **settings: str) -> str:
        """What another run says that cannot start."""
        with self.popen(subprocess.PIPE, **settings) as other:
            said, _ = other.communicate(timeout=PATIENCE)
        assert other.returncode == 1
        return said

    def told(self, text: str) -> bool:
        return text in self.output.read_text()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)

    @property
    def description(self) -> dict[str, Any]:
        described: dict[str, Any] = json.loads((self.data / "stack.json").read_text())
        return described

    def left(self) -> list[Any]:
        """Processes of this run that are still there."""
        return [*process.marked(process.mark(self.data)), *postgres.serving(self.data / "postgres")]

    def register(self, email: str) -> int:
        body = json.dumps({"email": email, "password": "correct horse battery"}).encode()
        url = f"http://{self.description['addresses']['rest']}/v1/auth:register"
        request = urllib.request.Request(url, body, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:  # noqa: S310
            return int(answer.status)

    def mail(self, recipient: str) -> list[dict[str, Any]]:
        url = f"http://{self.description['addresses']['mailbox']}/api/messages?to={recipient}"
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            found: list[dict[str, Any]] = json.load(answer)
        return found


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One run for all tests of this module, each of which leaves it up."""
    running = Running(tmp_path_factory.mktemp("the stack"))
    running.start()
    yield running
    running.stop()
    assert running.left() == []


def test_a_request_over_rest_ends_in_the_mailbox(running: Running) -> None:
    assert running.register("first@example.com") == 200
    eventually(lambda: running.mail("first@example.com"))


def test_every_child_is_described_by_its_pid(running: Running) -> None:
    assert sorted(running.description["children"]) == sorted(CHILDREN)


def test_nobody_else_can_read_the_secrets(running: Running) -> None:
    for name in ("secret.key", "postgres.password", "redis.password", "stack.json", "redis/redis.conf"):
        assert (running.data / name).stat().st_mode & 0o777 == 0o600, name


@pytest.mark.parametrize("name", CHILDREN)
def test_a_killed_child_is_named_and_the_stack_answers_again(running: Running, name: str) -> None:
    pid = running.description["children"][name]
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: running.told(f"(pid {pid}) was killed by SIGKILL; it is started again"))
    eventually(lambda: running.description["children"].get(name) not in {pid, None})
    eventually(lambda: running.register(f"after-{name}@example.com") == 200)
    eventually(lambda: running.mail(f"after-{name}@example.com"))


def test_a_second_run_in_the_same_folder_is_refused(running: Running) -> None:
    said = running.refused()
    assert f"is in use by another run (pid {running.process.pid})" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("name", ["GRPC", "REST", "METRICS"])
def test_a_taken_address_is_one_clear_line(running: Running, tmp_path: Path, name: str) -> None:
    address, setting = running.description["addresses"][name.lower()], f"TASKHUB_{name}_ADDRESS"
    said = running.refused(**{setting: address, "TASKHUB_DATA_DIR": str(tmp_path / "other")})
    assert said.startswith(f"taskhub: {address} ")
    assert setting in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_everything_and_the_next_start_finds_its_data(running: Running, number: signal.Signals) -> None:
    email, addresses = f"{number.name.lower()}@example.com", running.description["addresses"]
    running.register(email)
    eventually(lambda: running.mail(email))
    assert running.stop(number) == 0
    assert running.left() == []
    assert not (running.data / "stack.json").exists()
    running.start()
    assert len(running.mail(email)) == 1
    assert pending(running, email)
    assert running.description["addresses"]["postgres"] == addresses["postgres"]


def test_a_killed_supervisor_leaves_nothing_that_stops_the_next_one(running: Running) -> None:
    running.register("kept@example.com")
    running.stop(signal.SIGKILL)
    running.start()
    assert pending(running, "kept@example.com")


def test_everything_killed_at_once_loses_nothing(running: Running) -> None:
    running.register("crash@example.com")
    for pid in (running.process.pid, *running.description["children"].values()):
        os.kill(pid, signal.SIGKILL)
    running.process.wait(PATIENCE)
    running.start()
    assert pending(running, "crash@example.com")


@pytest.mark.parametrize("moment", ["", "postgres ", "redis ", "api "])
def test_a_start_that_is_interrupted_leaves_nothing_behind(tmp_path: Path, moment: str) -> None:
    """As soon as its folder is there, and then between one child and the next."""
    running = Running(tmp_path)
    with running.output.open("w") as output:
        running.process = running.popen(output)
    eventually(lambda: running.told(moment) if moment else running.data.exists())
    running.stop(signal.SIGINT)
    assert running.left() == []
    assert not running.told("Traceback")
    assert not running.told('"exception"')


def pending(running: Running, email: str) -> bool:
    """Whether the registration is in PostgreSQL."""
    with psycopg.connect(running.description["environment"]["TASKHUB_DATABASE_URL"]) as connection:
        found = connection.execute("SELECT 1 FROM registrations WHERE lower(email) = %s", [email]).fetchone()
    return found is not None
