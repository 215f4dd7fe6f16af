"""A filter lets through the rows that its meaning lets through: PostgreSQL beside a model in Python."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from psycopg.types.json import Jsonb

from api_service.events.entry import subject
from shared.events import TASK_SUBJECT
from shared.filters.match import task_matcher
from shared.filters.syntax import Node
from shared.filters.tasks import PRIORITIES as NUMBERS
from shared.filters.tasks import task_filter
from tests.support.filters import KEYS, PRIORITIES, STATES, TIMES, WORDS, Row, holds, logged_trees, task_trees, text_of
from tests.support.servers import Postgres

ROWS = 80
INSERT = """
INSERT INTO tasks (id, owner_id, title, description, state, priority, labels, due_time, create_time, complete_time)
VALUES (%(id)s, %(owner)s, %(title)s, %(description)s, %(state)s, %(number)s, %(json)s, %(due_time)s, %(create_time)s,
        %(complete_time)s)
"""


@dataclass
class World:
    """Rows, once in PostgreSQL and once for the model."""

    connection: psycopg.Connection[Any]
    rows: dict[uuid.UUID, Row]
    #: What the log of events would keep of each.
    logged: dict[uuid.UUID, Any] = field(default_factory=dict)


def random_row(chance: random.Random) -> dict[str, Any]:
    """Makes a task of few words, so that filters meet."""
    state = chance.choice(STATES)
    return {
        "title": " ".join(chance.sample(WORDS, chance.randint(1, 2))),
        "description": " ".join(chance.sample(WORDS, chance.randint(0, 2))),
        "state": state,
        "priority": chance.choice(PRIORITIES),
        "labels": {key: chance.choice(WORDS) for key in chance.sample(KEYS, chance.randint(0, 3))},
        "due_time": chance.choice([None, *TIMES]),
        "create_time": chance.choice(TIMES),
        "complete_time": TIMES[0] if state == "DONE" else None,
    }


@pytest.fixture(scope="module")
def world(postgres: Postgres) -> Iterator[World]:
    chance = random.Random(7)  # noqa: S311  rows, no secrets
    owner = uuid.uuid4()
    with postgres.clone() as url, psycopg.connect(url, autocommit=True) as connection:
        connection.execute("INSERT INTO users (id, email, password_hash) VALUES (%s, 'a@example.com', 'x')", (owner,))
        world = World(connection, {uuid.UUID(int=number): random_row(chance) for number in range(1, ROWS + 1)})
        for id_, row in world.rows.items():
            more = {"id": id_, "owner": owner, "number": NUMBERS[row["priority"]], "json": Jsonb(row["labels"])}
            connection.execute(INSERT, {**row, **more})
        world.logged = dict(connection.execute(f"SELECT id, {TASK_SUBJECT} FROM tasks").fetchall())
        yield world


def passing(world: World, text: str) -> set[uuid.UUID]:
    condition = task_filter(text)
    rows = world.connection.execute(
        f"SELECT id, state FROM tasks WHERE {condition.sql or 'true'}", condition.parameters
    )
    return {id_ for id_, state in rows if condition.states is None or state in condition.states}


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(logged_trees)
def test_postgresql_and_the_matcher_of_changes_agree(world: World, tree: Node) -> None:
    matcher = task_matcher(text_of(tree))
    assert matcher is not None
    assert passing(world, text_of(tree)) == {id_ for id_, logged in world.logged.items() if matcher(subject(logged))}


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(task_trees)
def test_postgresql_and_the_model_agree(world: World, tree: Node) -> None:
    assert passing(world, text_of(tree)) == {id_ for id_, row in world.rows.items() if holds(tree, row)}
