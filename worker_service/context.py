"""What a handler is given."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg

from shared.crypto import Secrets
from worker_service import queries
from worker_service.connection import JobConnection
from worker_service.database import Connection, Database
from worker_service.errors import LeaseLost
from worker_service.held import Current
from worker_service.queries import Claimed
from worker_service.settings import WorkerSettings
from worker_service.texts import as_json, printable

T = TypeVar("T")


class Context:
    """One attempt at a job, seen from inside its handler."""

    def __init__(self, current: Current, database: Database, settings: WorkerSettings, secrets: Secrets) -> None:
        self.job: Claimed = current.job
        self.settings = settings
        self.secrets = secrets
        #: What `transaction()` was opened on: no other will do for the completion.
        self.opened: JobConnection | None = None
        self._current = current
        self._database = database
        self._steps: dict[str, Any] | None = None

    @property
    def args(self) -> Mapping[str, Any]:
        """The job's arguments."""
        return self.job.args

    @property
    def attempt(self) -> int:
        """The number of this try, from 1. One that was lost through no fault of its own is not counted."""
        return self.job.attempt

    @property
    def idempotency_key(self) -> str:
        """What tells the world outside that two tries are one job: the same on every attempt, of no other job."""
        return str(self.job.id)

    @property
    def connection(self) -> Connection:
        """For reads; each statement commits alone. What the job changes belongs into `transaction()` or a step."""
        return self.opened or self._database.connection

    @property
    def cancelled(self) -> bool:
        """Whether somebody asked for the job to stop: raise `Cancelled` then. Seen within about a second."""
        return self._current.cancel_time is not None

    def progress(self, fraction: float, note: str = "") -> None:
        """Says how far the job is, 0 to 1, and at what, in 200 characters. Shown within about a second; never fails."""
        self._current.progress = (min(1.0, max(0.0, fraction)), printable(note[:200]))

    def step(self, name: str, function: Callable[[], T] | Callable[[Connection], T]) -> T:
        """Returns what `function` returns, or returned in an earlier attempt: then it does not run again.

        A function that takes a connection has its database effect committed together with the result. What happens
        outside is repeated if the worker dies before that. The result must be JSON, and is kept as long as the job.
        """
        if self._steps is None:
            # The first claim can have nothing to remember.
            self._steps = queries.steps(self.connection, self.job) if self.job.claim_token > 1 else {}
        if name not in self._steps:
            result = self._take(name, function)
            self._steps[name] = result
        taken: T = self._steps[name]
        return taken

    def _take(self, name: str, function: Callable[..., Any]) -> Any:
        alone = not inspect.signature(function).parameters
        # What happens outside takes its time: no transaction is held open for it.
        outside = function() if alone else None
        with self._begun() as connection:
            result = as_json(outside if alone else function(connection))
            if not queries.remember(connection, self.job, name, result):
                raise LeaseLost
        return json.loads(result)

    @contextmanager
    def _begun(self) -> Iterator[Connection]:
        """Opens a transaction on one connection; if it is rolled back, so are the steps that were taken inside."""
        # The very one: if it breaks, what comes after must not be committed on another, without what was before.
        connection, before = self.connection, None if self._steps is None else dict(self._steps)
        kept = False
        try:
            with connection.transaction():
                self._bound_idleness(connection)
                yield connection
                kept = True
        finally:
            if not kept:
                self._steps = before

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Opens the job's one transaction. It commits together with the completion, after the handler has returned.

        An exception that leaves the block rolls it back at once, as if there had been none. No connection is idle in it
        for longer than a lease. Raises RuntimeError the second time.
        """
        if self.opened is not None:
            raise RuntimeError("a job has one transaction")
        connection, before = self._database.connection, None if self._steps is None else dict(self._steps)
        self.opened = connection
        connection.begin()
        try:
            self._bound_idleness(connection)
            yield connection
        except BaseException as error:
            connection.abandon()
            self.opened, self._steps = None, before
            if not isinstance(error, psycopg.Rollback):
                raise

    def _bound_idleness(self, connection: Connection) -> None:
        # Where nothing else uses the session, that was said once.
        if self._database.pooled:
            queries.bound_idleness(connection, self.settings.lease_seconds)
