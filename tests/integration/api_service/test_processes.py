"""The parent of the server processes."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from api_service.settings import ApiSettings
from tests.support.api import Api
from tests.support.servers import PATIENCE, Processes, eventually

REQUIRED = {
    "database_url": "postgresql://a@127.0.0.1/a",
    "broker_url": "redis://127.0.0.1/0",
    "secret_key": "a secret key for tests, long enough",
}


def test_a_parent_that_is_killed_leaves_its_address_to_the_next_and_no_files(
    processes: Processes, database_url: str, tmp_path: Path
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    api = Api(processes, database_url, TASKHUB_DRAIN_DELAY_SECONDS="0", TMPDIR=str(temporary))
    assert list(temporary.glob("taskhub-*"))
    children = psutil.Process(api.process.pid).children()
    assert children
    api.process.kill()
    api.process.wait()
    psutil.wait_procs(children, timeout=PATIENCE)
    assert [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE] == []
    assert list(temporary.iterdir()) == []
    api.process = processes.start("api_service", environment=api.environment)
    eventually(api.serving)
    api.close()


@pytest.mark.parametrize("name", ["grpc_address", "backend_address", "metrics_address"])
@pytest.mark.parametrize("address", ["127.0.0.1:65536", "127.0.0.1", "[::1]:99999", ":50051"])
def test_an_address_that_cannot_be_is_refused_at_the_start(name: str, address: str) -> None:
    with pytest.raises(ValueError, match=name):
        ApiSettings(**{**REQUIRED, name: address})  # type: ignore[arg-type]
