"""The life of an attempt: run the handler, and write how it ended."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import psycopg
import structlog
from opentelemetry.trace import SpanKind
from structlog.contextvars import bind_contextvars, reset_contextvars

from shared.crypto import Secrets
from shared.states import AttemptState
from shared.traces import Tracer
from worker_service import queries
from worker_service.commits import Commit, Commits
from worker_service.context import Context
from worker_service.database import Connection, Database
from worker_service.errors import Cancelled, Interrupted, LeaseLost, Leaving, PermanentError, described
from worker_service.held import Current, Held
from worker_service.notes import Notes
from worker_service.queries import Claimed, Done
from worker_service.registry import Registry
from worker_service.settings import WorkerSettings
from worker_service.texts import as_json

log = structlog.get_logger(__name__)

T = TypeVar("T")

#: Seconds after which a group of pure jobs is written.
GROUP = 0.01

#: Exit status of a process that a handler forked and let come back.
FORKED = 71


class Attempts:
    """Runs what a process holds. `engine` writes groups, `commits` has what handlers and the end of their jobs need."""

    def __init__(
        self,
        settings: WorkerSettings,
        registry: Registry,
        secrets: Secrets,
        tracer: Tracer,
        engine: Database,
        commits: Commits,
        held: Held,
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._secrets = secrets
        self._tracer = tracer
        self._engine = engine
        self._commits = commits
        self._held = held
        self._notes = Notes(enabled=settings.log_level in ("DEBUG", "INFO"))
        self._seconds = 0.0
        self._pid = os.getpid()

    def run_batch(self) -> tuple[int, float]:
        """Runs what is held; returns how many jobs ran, and the seconds that their handlers took."""
        ran = 0
        self._seconds = 0.0
        while (current := self._held.begin()) is not None:
            ran += 1
            self._run(current)
            self.write_group(GROUP)
        self.write_group()
        self._notes.write()
        return ran, self._seconds

    def read_answers(self, *, all_of_them: bool = False) -> None:
        """Reads how commits went that were sent, as far as their connections are needed."""
        while (commit := self._commits.oldest(all_of_them=all_of_them)) is not None:
            self._record(commit.current, self._outcome(commit.current.job, partial(self._answer, commit)))
        if all_of_them:
            self._notes.write()

    def _run(self, current: Current) -> None:
        job = current.job
        self.read_answers()
        self._commits.database.renew()
        bound = bind_contextvars(job=str(job.id), kind=job.kind, attempt=job.attempt)
        try:
            with self._tracer.span(f"job {job.kind}", SpanKind.CONSUMER, job.traceparent) as span:
                state = self._outcome(job, partial(self._execute, current))
                if self._held.current is not None:
                    self._held.end()
                if state is not AttemptState.RUNNING:
                    span.set_attribute("taskhub.outcome", state)
                    self._record(current, state)
        finally:
            reset_contextvars(**bound)

    def _record(self, current: Current, state: AttemptState) -> None:
        # A line for each pure job would cost more than the job.
        logged = not (state is AttemptState.SUCCEEDED and self._registry.pure(current.job.kind))
        self._notes.take(current.job, state, time.monotonic() - current.start, logged=logged)

    def _outcome(self, job: Claimed, execute: Callable[[], AttemptState]) -> AttemptState:
        try:
            return execute()
        except LeaseLost:
            log.warning("attempt_refused", job=str(job.id), kind=job.kind)
            self._hand_back()
            return AttemptState.LOST
        except psycopg.Error:
            # Neither the end nor the failure could be written: the lease runs out, and the reaper decides.
            # The rest of the batch has waited as long: its leases are over too.
            log.exception("attempt_unrecorded", job=str(job.id), dropped=len(self._held.take_waiting()))
            self._commits.database.close()
            return AttemptState.LOST

    def _hand_back(self) -> None:
        """Begins nothing more of the batch: whoever has lost one lease was away, and the others are lost or soon are.

        What they do outside the database would be done twice, and nobody would refuse that.
        """
        waiting = {job.id: job.claim_token for job in self._held.take_waiting()}
        if not waiting:
            return
        try:
            log.info("jobs_released", jobs=queries.release(self._engine.connection, waiting))
        except psycopg.Error:
            self._engine.close()

    def _answer(self, commit: Commit) -> AttemptState:
        try:
            self._commits.answer(commit)
        except psycopg.Error as error:
            # If it was committed after all, the fence refuses the failure.
            self._fail(commit.current.job, error)
            return AttemptState.FAILED
        return AttemptState.SUCCEEDED

    def _execute(self, current: Current) -> AttemptState:
        """Returns how the attempt ended; RUNNING if its COMMIT is on the way."""
        try:
            return self._perform(current)
        except (LeaseLost, Leaving, KeyboardInterrupt):
            raise
        except Interrupted:
            # It may have been in the middle of anything.
            self._commits.database.close()
            self._fail(current.job, current.verdict or Cancelled())
        except BaseException as error:  # whatever a handler raises ends its attempt, never the worker: `sys.exit` too
            if self._held.closed:
                # It fails because it was told to stop.
                raise Leaving(0) from error
            self._commits.database.tidy()
            self._fail(current.job, error)
        return AttemptState.FAILED

    def _perform(self, current: Current) -> AttemptState:
        job = current.job
        context = Context(current, self._commits.database, self._settings, self._secrets)
        try:
            result = self._handle(current, context)
            if context.opened is not None:
                # Effect and completion: both commit, or neither does.
                self._commits.send(current, context.opened, result)
                return AttemptState.RUNNING
        except BaseException:
            if context.opened is not None:
                context.opened.abandon()
            raise
        if not self._commits.database.tidy():
            raise RuntimeError("the handler has left a transaction open")
        if self._registry.pure(job.kind):
            self._held.end(Done(job, result))
        else:
            self.settle(lambda connection: self._succeed(connection, job, result))
        return AttemptState.SUCCEEDED

    def _handle(self, current: Current, context: Context) -> str | None:
        try:
            returned = self._registry.handler(current.job.kind)(context)
        finally:
            current.interruptible = False
            if os.getpid() != self._pid:
                # A fork of the handler's has come back: the job and the connections are its parent's.
                os._exit(FORKED)
            self._seconds += time.monotonic() - current.start
        return None if returned is None else as_json(returned)

    def _succeed(self, connection: Connection, job: Claimed, result: str | None) -> None:
        if not queries.succeed(connection, job, result):
            raise LeaseLost

    def _fail(self, job: Claimed, error: BaseException) -> None:
        shown = described(error)
        # The text of an error that we did not write stays in the log.
        log.warning(
            "attempt_failed",
            job=str(job.id),
            attempt=job.attempt,
            reason=shown.reason,
            exc_info=None if shown is error else error,
        )
        delay = self._delay(job, error)
        cancelled = isinstance(error, Cancelled)

        def write(connection: Connection) -> None:
            if isinstance(error, psycopg.OperationalError) and queries.excuse(connection, job, shown):
                return
            if not queries.fail(connection, job, shown, delay, cancelled=cancelled):
                raise LeaseLost

        self.settle(write)

    def _delay(self, job: Claimed, error: BaseException) -> float | None:
        if isinstance(error, PermanentError) or job.attempt >= job.max_attempts:
            return None
        return backoff(job.attempt, self._settings.retry_base_seconds, self._settings.retry_cap_seconds)

    def write_group(self, age: float = 0.0) -> None:
        """Writes the pure jobs that ran, if the oldest has waited for `age` seconds."""
        group = self._held.take_group(age)
        if not group:
            return
        try:
            done = self.settle(lambda connection: queries.succeed_all(connection, group), self._engine)
        except psycopg.Error:
            log.exception("attempts_unrecorded", jobs=len(group))
            self._engine.close()
            return
        if done < len(group):
            log.warning("attempts_refused", jobs=len(group) - done)

    def settle(self, write: Callable[[Connection], T], database: Database | None = None) -> T:
        """Writes the end of an attempt, through an outage that is shorter than the lease. The fence makes that safe."""
        database = database or self._commits.database
        end = time.monotonic() + self._settings.lease_seconds
        while True:
            try:
                return write(database.connection)
            except (psycopg.OperationalError, psycopg.errors.ReadOnlySqlTransaction):
                # Read-only: what was the primary before a failover, or is full.
                database.close()
                if time.monotonic() >= end:
                    raise
                time.sleep(0.2)


def backoff(attempt: int, base: float, cap: float) -> float:
    """Returns seconds: exponential with full jitter (Brooker, "Exponential Backoff And Jitter", 2015)."""
    return random.uniform(0, min(cap, base * 2 ** (attempt - 1)))  # noqa: S311 - spreads load, hides nothing
