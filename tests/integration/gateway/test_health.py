from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.gateway.running import Gateway, signal_health
from tests.support.servers import eventually


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Gateway]:
    """Envoy before two processes."""
    running = Gateway(tmp_path, processes=2)
    try:
        running.start()
        yield running
    finally:
        running.stop()


def test_a_killed_process_costs_nobody_an_error_and_two_cost_503(two: Gateway) -> None:
    def statuses() -> set[int]:
        return {two.ask("POST", "/v1/tasks", "{}").status for _ in range(60)}

    eventually(lambda: statuses() == {200})
    two.kill_upstream(two.ports[0])
    assert statuses() == {200}
    assert two.ask("GET", "/readyz").json == {"status": "SERVING"}

    two.kill_upstream(two.ports[1])
    answer = two.ask("GET", "/v1/tasks")
    assert (answer.status, answer.json["code"], answer.reason) == (503, 14, "API_UNREACHABLE")
    assert answer.headers["retry-after"] == "1"
    ready = eventually(lambda: (answer := two.ask("GET", "/readyz")).status == 503 and answer)
    assert isinstance(ready, type(answer))
    assert ready.reason == "API_UNREACHABLE"
    assert two.ask("GET", "/healthz").status == 200

    two.start_upstream(two.ports[0])
    eventually(lambda: two.ask("GET", "/readyz").status == 200)
    assert two.ask("GET", "/v1/tasks").status == 200


def test_a_call_that_was_sent_is_never_sent_again(two: Gateway) -> None:
    eventually(lambda: {two.ask("GET", "/v1/tasks").status for _ in range(20)} == {200})
    answer = two.ask("GET", "/v1/tasks/die")
    assert (answer.status, answer.json["code"], answer.reason) == (503, 14, "API_UNREACHABLE")
    assert "idempotency key" in answer.json["message"]
    dead = eventually(lambda: [process for process in two.upstreams.values() if process.poll() is not None])
    assert len(dead) == 1, "the other process was asked as well"


def test_a_process_that_does_not_serve_is_not_asked(two: Gateway) -> None:
    for process in two.upstreams.values():
        signal_health(process, serving=False)
    eventually(lambda: two.ask("GET", "/readyz").status == 503)
    assert two.ask("GET", "/v1/tasks").status == 503
    signal_health(two.upstreams[two.ports[1]], serving=True)
    eventually(lambda: two.ask("GET", "/readyz").status == 200)
    eventually(lambda: {two.ask("GET", "/v1/tasks").status for _ in range(20)} == {200})
