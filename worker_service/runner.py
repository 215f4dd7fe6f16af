"""Claims jobs and runs them: the life of an attempt."""

from __future__ import annotations

import os
import random
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any, NoReturn

import psycopg
import structlog
from opentelemetry.trace import SpanKind

from shared.crypto import Secrets
from shared.states import AttemptState
from shared.traces import Tracer
from worker_service import metrics, queries
from worker_service.context import Context
from worker_service.database import Connection, Database
from worker_service.errors import LeaseLost, PermanentError, described
from worker_service.heartbeat import Heartbeat
from worker_service.queries import Claimed
from worker_service.registry import Registry
from worker_service.settings import WorkerSettings

log = structlog.get_logger(__name__)

#: Seconds after which a hint has had its share, and the pool process looks at the other queues.
SLICE = 1.0


class Runner:
    """Runs jobs in one process, one at a time. Connects at the first job."""

    def __init__(self, settings: WorkerSettings, registry: Registry, secrets: Secrets, tracer: Tracer) -> None:
        self._settings = settings
        self._registry = registry
        self._secrets = secrets
        self._tracer = tracer
        self._worker = f"{socket.gethostname()}:{os.getpid()}"
        self._database = Database(settings.dsn, "taskhub-worker")
        self._leaving = False
        self._heartbeat = Heartbeat(settings.dsn, settings.lease_seconds)

    def run(self, queue: str) -> None:
        """Runs what is due in `queue`, until nothing is or the slice is over."""
        try:
            self._drain(queue)
        finally:
            if self._leaving:
                self._release()
                raise SystemExit(0)

    def leave(self) -> NoReturn:
        """Interrupts the running job from a signal handler; `run` hands it back, and nobody waits for its lease."""
        self._leaving = True
        raise SystemExit(0)

    def close(self) -> None:
        """Closes the connections and sends the last spans."""
        self._heartbeat.close()
        self._database.close()
        self._tracer.close()

    def _drain(self, queue: str) -> None:
        end = time.monotonic() + SLICE
        while not self._leaving and (job := self._claim(queue)) is not None:
            self._attempt(job)
            if time.monotonic() >= end:
                self._wake_dispatcher()
                return

    def _release(self) -> None:
        # A connection of its own: the interrupted one may be in the middle of anything.
        self._database.close()
        try:
            jobs = queries.release(self._database.connection, self._worker)
        except psycopg.Error:
            log.warning("release_failed")
        else:
            log.info("jobs_released", jobs=jobs)

    def _claim(self, queue: str) -> Claimed | None:
        try:
            return queries.claim(
                self._database.connection, queue, self._registry.kinds, self._settings.lease_seconds, self._worker
            )
        except psycopg.OperationalError as error:
            # The dispatcher hints again when the database is back.
            log.warning("claim_failed", queue=queue, error=type(error).__name__)
            self._database.close()
            return None

    def _wake_dispatcher(self) -> None:
        try:
            queries.notify_jobs(self._database.connection)
        except psycopg.OperationalError:
            self._database.close()

    def _attempt(self, job: Claimed) -> None:
        started = time.monotonic()
        metrics.START_LATENCY.labels(job.queue).observe(max(0.0, job.latency))
        with (
            structlog.contextvars.bound_contextvars(job=str(job.id), kind=job.kind, attempt=job.attempt),
            self._tracer.span(f"job {job.kind}", SpanKind.CONSUMER, job.traceparent) as span,
        ):
            state = self._outcome(job)
            span.set_attribute("taskhub.outcome", state)
            seconds = time.monotonic() - started
            log.info("attempt_ended", outcome=state, seconds=round(seconds, 3))
        metrics.FINISHED.labels(job.kind, state).inc()
        metrics.DURATION.labels(job.kind).observe(seconds)

    def _outcome(self, job: Claimed) -> AttemptState:
        try:
            with self._heartbeat.of(job):
                return self._execute(job)
        except LeaseLost:
            log.warning("attempt_refused")
            return AttemptState.LOST
        except psycopg.Error:
            # Neither the end nor the failure could be written: the lease runs out, and the reaper decides.
            log.exception("attempt_unrecorded")
            self._database.close()
            return AttemptState.LOST

    def _execute(self, job: Claimed) -> AttemptState:
        try:
            self._perform(job)
        except LeaseLost:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a handler raises ends its attempt, never the worker
            self._fail(job, error)
            return AttemptState.FAILED
        return AttemptState.SUCCEEDED

    def _perform(self, job: Claimed) -> None:
        with ExitStack() as stack:
            context = Context(job, self._database.connection, self._settings, self._secrets, stack)
            result = self._registry.handler(job.kind)(context)
            if context.in_transaction:
                # Inside the transaction of the effect: both commit when the stack unwinds, or neither does.
                self._succeed(context.connection, job, result)
                return
        self._settle(lambda connection: self._succeed(connection, job, result))

    def _succeed(self, connection: Connection, job: Claimed, result: Mapping[str, Any] | None) -> None:
        if not queries.succeed(connection, job, result):
            raise LeaseLost

    def _fail(self, job: Claimed, error: Exception) -> None:
        shown = described(error)
        # The text of an error that we did not write stays in the log.
        log.warning("attempt_failed", reason=shown.reason, exc_info=None if shown is error else error)
        final = isinstance(error, PermanentError) or job.attempt >= job.max_attempts
        delay = (
            None if final else backoff(job.attempt, self._settings.retry_base_seconds, self._settings.retry_cap_seconds)
        )

        def write(connection: Connection) -> None:
            if not queries.fail(connection, job, shown, delay):
                raise LeaseLost

        self._settle(write)

    def _settle(self, write: Callable[[Connection], None]) -> None:
        """Writes the end of an attempt, through an outage that is shorter than the lease. The fence makes that safe."""
        end = time.monotonic() + self._settings.lease_seconds
        while True:
            try:
                return write(self._database.connection)
            except psycopg.OperationalError:
                self._database.close()
                if time.monotonic() >= end:
                    raise
                time.sleep(0.2)


def backoff(attempt: int, base: float, cap: float) -> float:
    """Returns seconds: exponential with full jitter (Brooker, "Exponential Backoff And Jitter", 2015)."""
    return random.uniform(0, min(cap, base * 2 ** (attempt - 1)))  # noqa: S311 - spreads load, hides nothing
