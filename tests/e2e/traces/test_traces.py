"""One trace from the caller's `traceparent` through the call and the job row to the worker that sends the mail."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from devstack.demo.doors import StubDoor
from devstack.demo.stack import ThrowAwayStack
from tests.support.servers import eventually

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


class Collector(ThreadingHTTPServer):
    """What an OpenTelemetry collector is to an exporter: it takes spans."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Export)
        self.spans: dict[str, tuple[str, str, str]] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def take(self, body: bytes) -> None:
        """Notes each span by its id: service, name, parent."""
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            service = {pair.key: pair.value.string_value for pair in resource.resource.attributes}["service.name"]
            for scope in resource.scope_spans:
                for span in scope.spans:
                    if span.trace_id.hex() == TRACE:
                        self.spans[span.span_id.hex()] = (service, span.name, span.parent_span_id.hex())


class Export(BaseHTTPRequestHandler):
    """POST /v1/traces."""

    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.take(gzip.decompress(body) if self.headers["content-encoding"] == "gzip" else body)
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  http.server's name
        """Keeps quiet."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    server = Collector()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_trace_goes_from_the_caller_to_the_email(collector: Collector, tmp_path: Path) -> None:
    with ThrowAwayStack(tmp_path, print, TASKHUB_OTLP_ENDPOINT=collector.url) as stack:
        door = StubDoor(stack.grpc)
        request = {"email": "traced@example.com", "password": "correct horse battery"}
        door.call("AuthService/Register", request, {"traceparent": f"00-{TRACE}-{PARENT}-01"})
        door.close()
        stack.mailbox.wait_for("traced@example.com", 1)
        eventually(lambda: {service for service, _, _ in collector.spans.values()} == {"taskhub-api", "taskhub-worker"})
    by_service = {service: (id_, name, parent) for id_, (service, name, parent) in collector.spans.items()}
    call_id, call_name, call_parent = by_service["taskhub-api"]
    _, job_name, job_parent = by_service["taskhub-worker"]
    assert (call_name, call_parent) == ("taskhub.v1.AuthService/Register", PARENT)
    assert "email" in job_name
    assert job_parent == call_id
