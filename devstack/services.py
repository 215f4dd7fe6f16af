"""TaskHub's own programs, and the gateway before them, as children of the supervisor."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
from grpc_health.v1 import health_pb2

from devstack import wheel
from devstack.process import Child

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from devstack.ports import Address

#: Where the packages lie, which may be another folder than the one that the stack was started from.
ROOT = Path(__file__).parent.parent


def python(*arguments: object) -> list[str]:
    """Returns the command that runs a module of ours with this interpreter."""
    return [sys.executable, "-m", *map(str, arguments)]


def migrations(environment: Mapping[str, str]) -> Child:
    """Returns the step that brings the schema up to date."""
    return Child("migrations", python("migrations", "upgrade"), environment=environment, cwd=ROOT)


def api(address: Address, backend: Address, environment: Mapping[str, str]) -> Child:
    """Returns how the API is served: ready when its health check says so, by the port that never speaks TLS."""

    async def ready() -> bool:
        return await serving(backend)

    return Child("api", python("api_service"), ready, address, environment, cwd=ROOT, grace=15)


def worker(ready: Callable[[], Awaitable[bool]], environment: Mapping[str, str]) -> Child:
    """Returns how jobs are run."""
    return Child("worker", python("worker_service"), ready, environment=environment, cwd=ROOT, grace=20)


def mailbox(folder: Path, smtp: Address, http: Address) -> Child:
    """Returns how the mailbox is served: ready when its page is, which comes after SMTP."""

    async def ready() -> bool:
        return await answers_ok(http.reachable, "/api/messages?limit=1")

    command = python("devstack.mailbox", "--smtp", smtp, "--http", http, "--folder", folder)
    return Child("mailbox", command, ready, f"http://{http.reachable}", cwd=ROOT)


def gateway_configuration(rest: Address, backend: Address, processes: int, output: Path) -> Child:
    """Returns the step that derives Envoy's configuration from the contract."""
    upstream = ",".join(f"{backend.host}:{backend.port + each}" for each in range(processes))
    command = python("deploy.gateway", "--listen", rest, "--upstream", upstream, "--output", output)
    return Child("gateway", command, cwd=ROOT)


def gateway(configuration: Path, rest: Address) -> Child:
    """Returns how Envoy is served; it needs no hot restart, whose shared memory two stacks would fight over."""

    async def ready() -> bool:
        return await answers_ok(rest.reachable, "/readyz")

    command: list[str | Path] = [
        wheel.folder("envoy") / "_bin" / "envoy", "--config-path", configuration,
        "--disable-hot-restart", "--concurrency", "2", "--log-level", "warn",
    ]  # fmt: skip
    return Child("envoy", command, ready, f"http://{rest.reachable}", grace=5)


async def serving(address: Address) -> bool:
    """Whether the standard health check at the address says SERVING."""
    async with grpc.aio.insecure_channel(str(address)) as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        try:
            answer = await check(health_pb2.HealthCheckRequest(), timeout=2)
        except grpc.aio.AioRpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


async def answers_ok(address: Address, path: str) -> bool:
    """Whether an HTTP server at the address answers 200."""
    try:
        async with asyncio.timeout(2):
            reader, writer = await asyncio.open_connection(address.host, address.port)
            writer.write(f"GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n".encode())
            status = await reader.readline()
            writer.close()
    except (OSError, TimeoutError):
        return False
    return b" 200 " in status
