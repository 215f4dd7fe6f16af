"""Real servers, one of each a session; a database and an empty mailbox for each test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support.servers import Mailbox, Postgres, Processes, Redis, free_port

#: They need Docker: `make containers` asks for them.
collect_ignore = [] if os.environ.get("TASKHUB_TEST_CONTAINERS") else ["containers"]


# An example takes as long as the machine takes: what is wrong with it is not its time.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """PostgreSQL with the migrated template."""
    server = Postgres(free_port())
    server.start()
    try:
        server.migrate()
        yield server
    finally:
        server.remove()


@pytest.fixture
def database_url(postgres: Postgres) -> Iterator[str]:
    """A database with the schema and nothing in it."""
    with postgres.clone() as url:
        yield url


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Redis]:
    """A Redis that a test may kill, if it starts it again."""
    server = Redis(free_port())
    server.start()
    yield server
    server.kill()


@pytest.fixture
def redis_url(redis_server: Redis) -> str:
    """An emptied Redis."""
    redis_server.command("FLUSHALL")
    return redis_server.url


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    """An empty mailbox."""
    box = Mailbox()
    box.start()
    yield box
    box.stop()


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    """Starts processes, and ends them with the test."""
    started = Processes(tmp_path)
    yield started
    started.stop()
