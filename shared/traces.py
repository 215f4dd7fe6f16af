"""Traces (OpenTelemetry): from the caller's `traceparent` through the call and the job row to the worker."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

_NOTHING = nullcontext(trace.INVALID_SPAN)

_propagator = TraceContextTextMapPropagator()


class Tracer:
    """Opens spans, and does nothing at all where no collector is named."""

    def __init__(self, service: str, endpoint: str | None) -> None:
        self._provider: TracerProvider | None = None
        if endpoint is not None:
            self._provider = _exporting(service, endpoint)
            self._tracer = self._provider.get_tracer("taskhub")

    @property
    def enabled(self) -> bool:
        """Whether spans go anywhere."""
        return self._provider is not None

    def span(self, name: str, kind: SpanKind, traceparent: str | None) -> AbstractContextManager[Span]:
        """Opens a span under `traceparent`, the W3C header of whoever caused it."""
        return _NOTHING if self._provider is None else self._span(name, kind, traceparent)

    @contextmanager
    def _span(self, name: str, kind: SpanKind, traceparent: str | None) -> Iterator[Span]:
        parent = _propagator.extract({"traceparent": traceparent} if traceparent else {})
        # An exception's words, and those of its causes, may repeat what a driver was given.
        with self._tracer.start_as_current_span(
            name, context=parent, kind=kind, record_exception=False, set_status_on_exception=False
        ) as span:
            yield span

    def close(self) -> None:
        """Sends what is left."""
        if self._provider is not None:
            self._provider.shutdown()


def _exporting(service: str, endpoint: str) -> TracerProvider:
    # Imported here: it takes a fifth of a second, which a process that is started again after a crash does not have.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


def traceparent() -> str | None:
    """Returns the W3C header of the current span, for the job row that carries it on."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return carrier.get("traceparent")
