"""Whoever owns things is a principal: written with each account, and gone with everything that it owned."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.integration.migrations.test_migrations import migrate
from tests.support.servers import Postgres

USER = "00000000-0000-7000-8000-000000000001"
OTHER = "00000000-0000-7000-8000-000000000002"
INSERT_USER = "INSERT INTO users (id, email, password_hash) VALUES (%s, %s, 'x')"
PRINCIPALS = "SELECT id::text, kind FROM principals"


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database_url, autocommit=True) as opened:
        yield opened


def test_an_account_has_its_principal_even_if_only_the_account_is_written(connection: psycopg.Connection[Any]) -> None:
    connection.execute(INSERT_USER, (USER, "a@example.com"))
    assert connection.execute(PRINCIPALS).fetchall() == [(USER, "users")]


def test_an_account_that_was_there_already_leaves_no_second_principal(connection: psycopg.Connection[Any]) -> None:
    connection.execute(INSERT_USER, (USER, "a@example.com"))
    connection.execute(INSERT_USER + " ON CONFLICT (email) DO NOTHING", (OTHER, "a@example.com"))
    assert connection.execute(PRINCIPALS).fetchall() == [(USER, "users")]


def test_a_principal_takes_along_what_it_owned(connection: psycopg.Connection[Any]) -> None:
    for id_, email in ((USER, "a@example.com"), (OTHER, "b@example.com")):
        connection.execute(INSERT_USER, (id_, email))
        connection.execute("INSERT INTO tasks (id, owner_id, title) VALUES (gen_random_uuid(), %s, 'x')", (id_,))
    connection.execute("DELETE FROM principals WHERE id = %s", (USER,))
    assert connection.execute("SELECT id::text FROM users").fetchall() == [(OTHER,)]
    assert connection.execute("SELECT owner_id::text FROM tasks").fetchall() == [(OTHER,)]


def test_accounts_of_the_release_before_become_principals_and_go_back(postgres: Postgres) -> None:
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as connection:
        connection.execute("CREATE DATABASE before_principals")
    url = postgres.url("before_principals")
    migrate(url, "upgrade", "0002")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(INSERT_USER, (USER, "a@example.com"))
        connection.execute("INSERT INTO tasks (id, owner_id, title) VALUES (gen_random_uuid(), %s, 'x')", (USER,))
        migrate(url, "upgrade")
        assert connection.execute(PRINCIPALS).fetchall() == [(USER, "users")]
        migrate(url, "downgrade", "0002")
        assert connection.execute("SELECT owner_id::text FROM tasks").fetchall() == [(USER,)]
