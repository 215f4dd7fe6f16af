"""Limits over REST: the API before a real Redis, behind the gateway."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.gateway.running import Gateway
from tests.support.api import SECRET
from tests.support.servers import Processes, free_port

LIMIT = 20


class BeforeApi(Gateway):
    """Envoy before one process of the API, by the port that is its own."""

    def __init__(self, folder: Path, processes: Processes, **settings: str) -> None:
        super().__init__(folder)
        self._processes = processes
        self._settings = settings

    def start_upstream(self, port: int) -> None:
        self._processes.start(
            "api_service",
            environment={
                "TASKHUB_SECRET_KEY": SECRET,
                "TASKHUB_API_PROCESSES": "1",
                "TASKHUB_GRPC_ADDRESS": f"127.0.0.1:{free_port()}",
                "TASKHUB_METRICS_ADDRESS": f"127.0.0.1:{free_port()}",
                "TASKHUB_BACKEND_ADDRESS": f"127.0.0.1:{port}",
                "TASKHUB_TRUSTED_PROXIES": "127.0.0.1",
                **self._settings,
            },
        )


@pytest.fixture
def gateway(tmp_path: Path, processes: Processes, database_url: str, redis_url: str) -> Iterator[BeforeApi]:
    running = BeforeApi(
        tmp_path,
        processes,
        TASKHUB_DATABASE_URL=database_url,
        TASKHUB_BROKER_URL=redis_url,
        TASKHUB_RATE_LIMIT_ANONYMOUS=str(LIMIT),
    )
    try:
        running.start()
        yield running
    finally:
        running.stop()


def test_a_caller_is_told_by_status_and_headers_and_no_forged_address_helps(gateway: BeforeApi) -> None:
    began = time.monotonic()
    answers = [
        gateway.ask("GET", "/v1/auth/jwks", None, x_forwarded_for=f"6.6.6.{number}", forwarded=f"for=6.6.6.{number}")
        for number in range(LIMIT * 2)
    ]
    statuses = [answer.status for answer in answers]
    refilled = (time.monotonic() - began) * LIMIT / 60
    assert LIMIT <= statuses.count(200) <= LIMIT * 1.2 + refilled
    refused = next(answer for answer in reversed(answers) if answer.status == 429)
    assert (refused.json["code"], refused.reason) == (8, "RATE_LIMITED")
    assert refused.headers["ratelimit-policy"] == f'"anonymous";q={LIMIT};w=60'
    assert re.fullmatch(r'"anonymous";r=0;t=[1-9]', refused.headers["ratelimit"])
    assert 1 <= int(refused.headers["retry-after"]) <= 9
    assert float(refused.detail["RetryInfo"]["retryDelay"].removesuffix("s")) <= int(refused.headers["retry-after"])
