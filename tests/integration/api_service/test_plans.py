"""An index stands behind each query that ships: forbidden to scan or to sort, the planner finds another way."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from typing import Any, cast

import psycopg
import pytest

from api_service.accounts import queries as accounts
from api_service.auth import queries as auth
from api_service.credentials import queries as credentials
from api_service.database import Connection
from api_service.events import queries as events
from api_service.exchange import queries as exchange
from api_service.jobs import queries as jobs
from api_service.lockouts import queries as lockouts
from api_service.origin import Origin
from api_service.service_accounts import queries as robots
from api_service.sessions import queries as sessions
from api_service.tasks import queries as tasks
from api_service.users import queries as users
from shared.orphans import orphans

ID = uuid.uuid4()
NOW = datetime.now(UTC)
ORPHANS = orphans(ID, "users/1", "users/1", NOW, NOW) | {"limit": 10_000}
ENDING = sessions.Ending("revoked", f"users/{ID}", Origin("127.0.0.1", "test"))


class Planner:
    """Stands where queries expect a connection, and notes the plan instead of running the statement."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        self.plans: list[str] = []
        self.rowcount = 1

    async def execute(self, statement: str, parameters: Any = (), **_: Any) -> Planner:
        """Plans it."""
        rows = self._connection.execute("EXPLAIN (COSTS OFF) " + statement, parameters).fetchall()
        self.plans.append("\n".join(row[0] for row in rows))
        return self

    def cursor(self, **_: Any) -> Planner:
        """Returns itself."""
        return self

    async def fetchone(self) -> None:
        """Finds nothing."""

    async def fetchall(self) -> list[Any]:
        """Finds nothing."""
        return []


@pytest.fixture
def planner(database_url: str) -> Iterator[Planner]:
    with psycopg.connect(database_url) as connection:
        connection.execute("SET enable_seqscan = off; SET enable_sort = off; SET enable_bitmapscan = off")
        yield Planner(connection)


QUERIES: dict[str, Callable[[Connection], Awaitable[Any]]] = {
    "tasks.get": lambda c: tasks.get(c, ID, reader=ID, reads_all=False),
    "tasks.get_all": lambda c: tasks.get_all(c, [ID], reader=ID, reads_all=False),
    "tasks.lock": lambda c: tasks.ask(c, tasks.lock([ID], writer=ID, writes_all=False)),
    "tasks.lock_family": lambda c: tasks.ask(c, tasks.lock_family([ID], [ID], [ID], writer=ID, writes_all=False)),
    "tasks.below": lambda c: tasks.ask(c, tasks.below([ID])),
    "tasks.trees": lambda c: tasks.ask(c, tasks.trees([ID])),
    "tasks.principals": lambda c: tasks.ask(c, tasks.principals([ID])),
    "tasks.update_all": lambda c: tasks.update_all(c, [], [], [{"job_id": str(ID)}]),
    "events.after": lambda c: events.after(c, 0, 500),
    "events.history": lambda c: events.history(c, "tasks/1", kinds=(), before=None, limit=50),
    "events.history of kinds": lambda c: events.history(c, "tasks/1", kinds=["task.created"], before=9, limit=50),
    "jobs.get": lambda c: jobs.get(c, ID, reader=ID, reads_all=False),
    "jobs.attempts": lambda c: jobs.attempts(c, ID, before=None, limit=50),
    "users.user": lambda c: users.user(c, ID),
    "users.end_sessions": lambda c: users.end_sessions(c, ID),
    "users.page": lambda c: users.page(c, email="", state=None, show_deleted=False, before=None, limit=50),
    "robots.get": lambda c: robots.get(c, ID),
    "robots.page": lambda c: robots.page(c, show_deleted=False, before=None, limit=50),
    "robots.page_of_keys": lambda c: robots.page_of_keys(c, ID, before=None, limit=50),
    "robots.count_live_keys": lambda c: robots.count_live_keys(c, ID),
    "robots.lock_key": lambda c: robots.lock_key(c, ID, ID),
    "exchange.key": lambda c: exchange.key(c, ID),
    "accounts.unassign": lambda c: accounts.unassign(c, ORPHANS),
    "accounts.delete_tasks": lambda c: accounts.delete_tasks(c, ORPHANS),
    "auth.user_by_email": lambda c: auth.user_by_email(c, "a@example.com"),
    "auth.extend_registration": lambda c: auth.extend_registration(c, ID, 60),
    "auth.pending_registrations": lambda c: auth.pending_registrations(c, "a@example.com"),
    "credentials.account": lambda c: credentials.account(c, ID),
    "credentials.active_user": lambda c: credentials.active_user(c, "a@example.com"),
    "credentials.set_password": lambda c: credentials.set_password(c, ID, "x"),
    "credentials.set_email": lambda c: credentials.set_email(c, ID, "a@example.com", "b@example.com"),
    "credentials.link": lambda c: credentials.link(c, ID, "reset-password"),
    "credentials.drop_links": lambda c: credentials.drop_links(c, ID),
    "credentials.drop_registrations": lambda c: credentials.drop_registrations(c, "a@example.com"),
    "credentials.registered": lambda c: credentials.registered(c, "a@example.com"),
    "auth.take_registrations": lambda c: auth.take_registrations(c, ID),
    "auth.credentials": lambda c: auth.credentials(c, "a@example.com", b"0" * 32),
    "lockouts.longest_wait": lambda c: lockouts.longest_wait(c, [b"0" * 32, b"1" * 32]),
    "lockouts.hold": lambda c: lockouts.hold(c, b"0" * 32),
    "sessions.lock_role": lambda c: sessions.lock_role(c, ID, 1),
    "sessions.note_device": lambda c: sessions.note_device(c, ID, b"0" * 32),
    "sessions.lock_refresh_token": lambda c: sessions.lock_refresh_token(c, b"0" * 32),
    "sessions.page": lambda c: sessions.page(c, ID, before=None, limit=50),
    "sessions.revoke": lambda c: sessions.revoke(c, ID, ID, ENDING),
    "sessions.revoke_all": lambda c: sessions.revoke_all(c, ID, ENDING),
    "auth.revoked_sessions": lambda c: auth.revoked_sessions(c, 900),
}
for owner in (None, ID):
    for kind in ("", "email"):
        QUERIES[f"jobs.page {owner and 'owner'} {kind}"] = lambda c, owner=owner, kind=kind: jobs.page(  # type: ignore[misc]
            c, owner=owner, kind=kind, state=None, before=None, limit=50
        )
#: Where another index would do as well without a scan and without a sort, and read what is not asked for.
INDEXES = {
    "jobs.attempts": "Index Scan Backward using job_attempts_pkey",
    "events.after": "Index Scan using events_position_key",
    "events.history": "Index Scan Backward using events_resource_idx",
    "events.history of kinds": "Index Scan Backward using events_resource_idx",
}
QUERIES["jobs.page FAILED"] = lambda c: jobs.page(c, owner=None, kind="", state="FAILED", before=None, limit=50)


@pytest.mark.parametrize("name", QUERIES)
def test_no_query_scans_a_table(planner: Planner, name: str) -> None:
    asyncio.run(cast("Any", QUERIES[name](cast("Connection", planner))))
    [plan] = planner.plans
    assert "Seq Scan" not in plan
    if ".page" in name:
        assert "Sort" not in plan
    assert INDEXES.get(name, "") in plan
