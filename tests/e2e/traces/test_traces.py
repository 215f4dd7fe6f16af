"""One trace from the caller's `traceparent` through the call and the job row to the worker that sends the mail."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from devstack.demo.doors import StubDoor
from devstack.demo.stack import ThrowAwayStack
from tests.support.collector import Collector
from tests.support.servers import eventually

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as running:
        yield running


def test_a_trace_goes_from_the_caller_to_the_email(collector: Collector, tmp_path: Path) -> None:
    with ThrowAwayStack(tmp_path, print, TASKHUB_OTLP_ENDPOINT=collector.url) as stack:
        door = StubDoor(stack.grpc)
        request = {"email": "traced@example.com", "password": "correct horse battery"}
        door.call("AuthService/Register", request, {"traceparent": f"00-{TRACE}-{PARENT}-01"})
        door.close()
        stack.mailbox.wait_for("traced@example.com", 1)
        eventually(
            lambda: (
                {service for service, _, _ in collector.spans_of(TRACE).values()} == {"taskhub-api", "taskhub-worker"}
            )
        )
    by_service = {service: (id_, name, parent) for id_, (service, name, parent) in collector.spans_of(TRACE).items()}
    call_id, call_name, call_parent = by_service["taskhub-api"]
    _, job_name, job_parent = by_service["taskhub-worker"]
    assert (call_name, call_parent) == ("taskhub.v1.AuthService/Register", PARENT)
    assert "email" in job_name
    assert job_parent == call_id
