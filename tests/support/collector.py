"""What an OpenTelemetry collector is to an exporter: a server that takes spans."""

from __future__ import annotations

import gzip
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Collector(ThreadingHTTPServer):
    """Keeps all that it is sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Export)
        self.bodies: list[bytes] = []
        self._thread = threading.Thread(target=self.serve_forever)

    def __enter__(self) -> Self:
        """Takes spans from now on."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stops."""
        self.shutdown()
        self._thread.join()
        self.server_close()

    @property
    def url(self) -> str:
        """Returns what TASKHUB_OTLP_ENDPOINT takes."""
        return f"http://127.0.0.1:{self.server_port}"

    def spans_of(self, trace: str) -> dict[str, tuple[str, str, str]]:
        """Returns each span of a trace by its id: service, name, parent."""
        found = {}
        for body in list(self.bodies):
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                service = {pair.key: pair.value.string_value for pair in resource.resource.attributes}["service.name"]
                for scope in resource.scope_spans:
                    for span in scope.spans:
                        if span.trace_id.hex() == trace:
                            found[span.span_id.hex()] = (service, span.name, span.parent_span_id.hex())
        return found


class Export(BaseHTTPRequestHandler):
    """POST /v1/traces."""

    server: Collector

    def do_POST(self) -> None:
        """Takes the spans of one request."""
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.bodies.append(gzip.decompress(body) if self.headers["content-encoding"] == "gzip" else body)
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  http.server's name
        """Keeps quiet."""
