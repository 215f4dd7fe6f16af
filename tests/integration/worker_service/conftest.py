"""A worker's parts against real servers, without its processes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from shared.crypto import Secrets
from shared.kinds import JobKind
from shared.traces import Tracer
from tests.support.jobs import Jobs
from worker_service import runner as runners
from worker_service.database import Database
from worker_service.jobs import Handler, Job
from worker_service.pace import BATCH, Pace
from worker_service.registry import Registry
from worker_service.runner import Runner
from worker_service.settings import WorkerSettings

#: Of the kind that tests run their own handlers under.
PROBE = JobKind("probe", queue="probes", max_attempts=3)
KEY = "k" * 32


class Runs:
    """Runs what is due among the probes with the handler given."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self.runners: list[Runner] = []

    def __call__(
        self, handler: Handler, *, pure: bool = False, timeout: float | None = None, batch: int = 1, **changes: object
    ) -> None:
        """Returns once nothing is due. `batch` is the size of the first; `changes` are settings."""
        registry = Registry([Job(PROBE, handler, pure=pure, timeout=timeout)])
        changed = self._settings.model_copy(update=changes)
        pace = Pace()
        pace.note(PROBE.queue, batch, BATCH)
        runner = Runner(changed, registry, Secrets(KEY), Tracer("test", None), pace)
        self.runners.append(runner)
        runner.run(PROBE.queue)


Run = Runs


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run goes on until nothing is due, however slow the machine; in production the dispatcher hints again."""
    monkeypatch.setattr(runners, "SLICE", 3600.0)


@pytest.fixture
def jobs(database_url: str) -> Iterator[Jobs]:
    """The tables."""
    tables = Jobs(database_url)
    yield tables
    tables.connection.close()


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A connection as loops have one."""
    database = Database(database_url, "test", pooled=False)
    yield database
    database.close()


@pytest.fixture
def settings(database_url: str, redis_url: str) -> WorkerSettings:
    """Settings with a short lease."""
    return WorkerSettings.model_validate(
        {"database_url": database_url, "broker_url": redis_url, "secret_key": KEY, "lease_seconds": 1}
    )


@pytest.fixture
def run(settings: WorkerSettings) -> Iterator[Run]:
    """Runs what is due, as a pool process does for a hint."""
    runs = Runs(settings)
    yield runs
    for runner in runs.runners:
        runner.close()
