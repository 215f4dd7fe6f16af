"""The schema's history: up, down, offline, several at once, on the oldest PostgreSQL and the newest."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import psycopg
import pytest

from tests.support.servers import PATIENCE, ROOT, Postgres, free_port


def start(url: str, *arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "TASKHUB_DATABASE_URL": url}
    command = [sys.executable, "-m", "migrations", *arguments]
    return subprocess.Popen(  # noqa: S603  ourselves
        command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def migrate(url: str, *arguments: str) -> str:
    process = start(url, *arguments)
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, output
    return output


@pytest.fixture(params=[16, 18])
def empty(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of an empty database on a server of this version."""
    server = Postgres(free_port(), request.param)
    server.start()
    try:
        yield server.url("postgres")
    finally:
        server.remove()


def tables(url: str) -> set[str]:
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
    return {row[0] for row in rows}


def test_up_down_and_up_again_ends_where_the_code_expects_it(empty: str) -> None:
    migrate(empty, "upgrade")
    everything = tables(empty)
    assert {"users", "tasks", "events", "jobs", "idempotency_records"} <= everything
    migrate(empty, "downgrade", "base")
    assert tables(empty) == {"alembic_version"}
    migrate(empty, "upgrade")
    assert tables(empty) == everything
    assert "No new upgrade operations detected" in migrate(empty, "check")


def test_several_at_once_do_the_work_once(postgres: Postgres) -> None:
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as connection:
        connection.execute("CREATE DATABASE at_once")
    url = postgres.url("at_once")
    racing = [start(url, "upgrade") for _ in range(4)]
    outputs = [process.communicate(timeout=PATIENCE)[0] for process in racing]
    assert [process.returncode for process in racing] == [0] * 4, outputs
    assert "(head)" in migrate(url, "current")


def test_the_statements_can_be_printed_without_a_database() -> None:
    printed = migrate("postgresql://nobody@127.0.0.1:1/nowhere", "sql")
    assert "CREATE TABLE jobs" in printed
    assert "SET lock_timeout" in printed
