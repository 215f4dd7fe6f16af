"""The composed stack as a test needs it: a project of its own on free ports, built from what lies here."""

from __future__ import annotations

import json
import os
import subprocess
from types import TracebackType
from typing import Any, Self

from devstack.demo.doors import StubDoor
from devstack.demo.main_job import PASSWORD, Mailbox
from tests.support.servers import ROOT, eventually, free_port

PROJECT = "taskhub-test"
ADMIN = "root@example.com"
#: What stays up, as opposed to what runs once.
SERVICES = ("postgres", "redis", "mailbox", "api", "worker", "envoy")
#: Our own images; a slow machine builds for a while.
BUILD_SECONDS = 1800


def docker(*arguments: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
    """Runs the docker client."""
    return subprocess.run(["docker", *arguments], check=check, capture_output=True, text=True, **options)  # noqa: S603, S607


def compose_command() -> list[str]:
    """Returns the plugin where there is one, else the program of old."""
    return ["docker", "compose"] if docker("compose", "version", check=False).returncode == 0 else ["docker-compose"]


class ComposedStack:
    """Up as long as the `with` block."""

    def __init__(self) -> None:
        self._command = [*compose_command(), "-p", PROJECT]
        names = ("REST", "GRPC", "MAILBOX", "METRICS", "WORKER_METRICS")
        self.ports = {name: free_port() for name in names}
        foreign = {name: value for name, value in os.environ.items() if not name.startswith("TASKHUB_")}
        self._environment = foreign | {f"TASKHUB_{name}_PORT": str(port) for name, port in self.ports.items()}

    def __enter__(self) -> Self:
        """Returns once every service is healthy."""
        self.compose("down", "--volumes")
        try:
            self.compose("up", "-d", "--build", timeout=BUILD_SECONDS)
            for service in SERVICES:
                self.await_healthy(service)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leaves the images, and nothing else."""
        self.close()

    def close(self) -> None:
        """Removes containers, network and volumes."""
        self.compose("down", "--volumes", "--remove-orphans")

    def compose(self, *arguments: str, **options: Any) -> str:
        """Runs docker compose, and returns what it printed."""
        done: subprocess.CompletedProcess[str] = subprocess.run(  # noqa: S603
            [*self._command, *arguments], cwd=ROOT, env=self._environment, capture_output=True, text=True,
            check=False, **options,
        )  # fmt: skip
        assert done.returncode == 0, f"{arguments}: {done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        return done.stdout

    def container(self, service: str) -> str:
        """Returns the id of a service's container, stopped ones included."""
        found = self.compose("ps", "-a", "-q", service).split()
        assert len(found) == 1, f"{service}: {found}"
        return found[0]

    def inspect(self, service: str) -> dict[str, Any]:
        """Returns what the daemon knows of a service's container."""
        found: list[dict[str, Any]] = json.loads(docker("inspect", self.container(service)).stdout)
        return found[0]

    def execute(self, service: str, *command: str) -> subprocess.CompletedProcess[str]:
        """Runs a command inside a service's container, as its user."""
        return docker("exec", self.container(service), *command, check=False)

    def await_healthy(self, service: str, seconds: float = 90) -> None:
        """Waits until the service's own health check is content."""
        eventually(lambda: self.inspect(service)["State"]["Health"]["Status"] == "healthy", seconds)

    @property
    def grpc(self) -> str:
        """Where the API listens, seen from here."""
        return f"127.0.0.1:{self.ports['GRPC']}"

    @property
    def rest(self) -> str:
        """Where the gateway listens, seen from here."""
        return f"127.0.0.1:{self.ports['REST']}"

    @property
    def mailbox(self) -> Mailbox:
        """Where the mail goes, seen from here."""
        return Mailbox(f"127.0.0.1:{self.ports['MAILBOX']}")

    def administrator(self) -> dict[str, str]:
        """Makes the first administrator as docker-compose.yml says, signs in, and returns the headers of a call."""
        command = ("python", "-m", "api_service", "admin", "create", "--email", ADMIN)
        docker("exec", "-i", self.container("api"), *command, input=PASSWORD)
        door = StubDoor(self.grpc)
        answer = door.call("AuthService/Login", {"email": ADMIN, "password": PASSWORD}, {})
        door.close()
        return {"authorization": f"Bearer {answer.body['tokens']['accessToken']}"}
