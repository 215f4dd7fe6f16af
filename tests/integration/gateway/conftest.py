"""One gateway for all tests that break nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from deploy.gateway.render import Limits
from tests.integration.gateway.running import Gateway


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Envoy before one process, with answers of 8 MiB at most."""
    running = Gateway(
        tmp_path_factory.mktemp("gateway"),
        limits=Limits(response_bytes=8 * 1024 * 1024),
        cors_origins="https://app.example.com",
    )
    try:
        running.start()
        yield running
    finally:
        running.stop()
