"""Where a call comes from, asked of the API's own chain: through the gateway, and past it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import grpc
import pytest
from taskhub.v1 import task_pb2, task_service_pb2, task_service_pb2_grpc

from tests.integration.gateway.mirror import HOSTS, address
from tests.integration.gateway.running import Gateway
from tests.support.servers import PATIENCE, ROOT, free_port

FORGED = {"x_forwarded_for": "6.6.6.6", "forwarded": "for=6.6.6.6", "x_real_ip": "6.6.6.6"}


class BeforeMirror(Gateway):
    """Envoy before a mirror, which has a port besides that believes nobody."""

    def start_upstream(self, port: int) -> None:
        self.other = free_port()
        command = [sys.executable, "-m", "tests.integration.gateway.mirror", str(port), str(self.other)]
        self.upstreams[port] = subprocess.Popen(command, cwd=ROOT)  # noqa: S603


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BeforeMirror]:
    gateway = BeforeMirror(tmp_path_factory.mktemp("mirror"))
    try:
        gateway.start()
        yield gateway
    finally:
        gateway.stop()


def ask(address: str, **headers: str) -> task_pb2.Task:
    """Calls over gRPC."""
    with grpc.insecure_channel(address) as channel:
        stub = task_service_pb2_grpc.TaskServiceStub(channel)  # type: ignore[no-untyped-call]
        metadata = [(name.replace("_", "-"), value) for name, value in headers.items()]
        found = stub.GetTask(
            task_service_pb2.GetTaskRequest(), metadata=metadata, timeout=PATIENCE, wait_for_ready=True
        )
        assert isinstance(found, task_pb2.Task)
        return found


def test_forged_headers_change_nothing_over_rest(mirror: BeforeMirror) -> None:
    seen = mirror.ask("GET", "/v1/tasks/1", None, **FORGED, user_agent="curl/8").json
    assert (seen["title"], seen["description"]) == ("127.0.0.1", "curl/8")


@pytest.mark.parametrize("host", HOSTS)
def test_forged_headers_change_nothing_over_grpc(mirror: BeforeMirror, host: str) -> None:
    seen = ask(address(host, mirror.other), **FORGED)
    assert seen.title == host
    assert seen.description.startswith("grpc-python/")


def test_the_gateway_is_believed(mirror: BeforeMirror) -> None:
    behind = f"127.0.0.1:{mirror.ports[0]}"
    assert ask(behind, x_forwarded_for="203.0.113.7").title == "203.0.113.7"
    assert ask(behind, x_forwarded_for="203.0.113.7, nonsense").title == "127.0.0.1"
    for other in HOSTS[1:]:
        assert ask(address(other, mirror.ports[0]), x_forwarded_for="203.0.113.7").title == other
