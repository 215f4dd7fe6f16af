"""A worker's parts against real servers, without its processes."""

from __future__ import annotations

import signal
import time
import uuid
from collections.abc import Iterator

import pytest

from shared.crypto import Secrets
from shared.kinds import JobKind
from shared.traces import Tracer
from tests.support.jobs import Jobs
from worker_service import attempt, heartbeat, queries
from worker_service import runner as runners
from worker_service.database import Database
from worker_service.errors import AttemptLost
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


def lose(database: Database, *ids: uuid.UUID) -> None:
    """Ends the leases of these jobs, as the reaper does once their time is over; no beat comes in between."""
    over = "UPDATE jobs SET lease_expire_time = now() - interval '1 second' WHERE id = ANY(%s)"
    with database.connection.transaction():
        database.connection.execute(over, [list(ids)])
        reaped = queries.reap(database.connection, 0, 3, AttemptLost())
    assert {job.id for job in reaped} == set(ids)


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """What depends on how fast the machine is: a test that is about one of these sets it back."""
    # A run goes on until nothing is due; in production the dispatcher hints again.
    monkeypatch.setattr(runners, "SLICE", 3600.0)
    # No job is so long that those behind it are handed back.
    monkeypatch.setattr(heartbeat, "LONG", 3600.0)
    # A job that is to be tried again is not due before its test has looked.
    monkeypatch.setattr(attempt, "backoff", lambda attempt, base, cap: min(cap, base * 2 ** (attempt - 1)))
    # With leases that no pause of the machine outlasts, nobody waits for a third of one.
    monkeypatch.setattr(heartbeat, "BEAT", 0.05)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch, unhurried: None) -> None:
    """Jobs behind a long one are handed back."""
    del unhurried
    monkeypatch.setattr(heartbeat, "LONG", 0.05)


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
    """Settings with leases and pauses that no hiccup of the machine outlasts."""
    return WorkerSettings.model_validate(
        {
            "database_url": database_url,
            "broker_url": redis_url,
            "secret_key": KEY,
            "lease_seconds": 300,
            "retry_base_seconds": 300,
        }
    )


@pytest.fixture
def run(settings: WorkerSettings) -> Iterator[Run]:
    """Runs what is due, as a pool process does for a hint."""
    runs = Runs(settings)
    yield runs
    for runner in runs.runners:
        runner.close()


@pytest.fixture
def interruptible(run: Run, impatient: None) -> Iterator[Run]:
    """Handlers of `run` can be interrupted, as in a pool process."""
    del impatient

    def interrupt(*_: object) -> None:
        for runner in run.runners:
            runner.interrupt()

    before = signal.signal(signal.SIGUSR2, interrupt)
    yield run
    signal.signal(signal.SIGUSR2, before)


class Clock:
    """The heartbeat's, for a test to put forward."""

    ahead = 0.0
    sleep = staticmethod(time.sleep)

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(heartbeat, "time", clock)
    return clock
