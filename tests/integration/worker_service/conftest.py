"""A worker's parts against real servers, without its processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from shared.crypto import Secrets
from shared.kinds import JobKind
from shared.traces import Tracer
from tests.support.jobs import Jobs
from worker_service.database import Database
from worker_service.jobs import Handler, Job
from worker_service.registry import Registry
from worker_service.runner import Runner
from worker_service.settings import WorkerSettings

#: Of the kind that tests run their own handlers under.
PROBE = JobKind("probe", queue="probes", max_attempts=3)
KEY = "k" * 32
Run = Callable[..., None]


@pytest.fixture
def jobs(database_url: str) -> Iterator[Jobs]:
    """The tables."""
    tables = Jobs(database_url)
    yield tables
    tables.connection.close()


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A connection as loops have one."""
    database = Database(database_url, "test")
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
    """Runs what is due among the probes with the handler given, as a pool process does for a hint."""
    runners = []

    def run(handler: Handler, **changes: object) -> None:
        registry = Registry([Job(PROBE, handler)])
        changed = settings.model_copy(update=changes)
        runner = Runner(changed, registry, Secrets(KEY), Tracer("test", None))
        runners.append(runner)
        runner.run(PROBE.queue)

    yield run
    for runner in runners:
        runner.close()
