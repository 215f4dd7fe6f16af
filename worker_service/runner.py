"""Claims jobs and runs them, batch by batch: what one pool process does for a hint."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from typing import NoReturn

import psycopg
import structlog

from shared.crypto import Secrets
from shared.traces import Tracer
from worker_service import queries
from worker_service.attempt import Attempts
from worker_service.commits import CONNECTIONS, Commits
from worker_service.database import BY_INDEX, Database
from worker_service.errors import Interrupted, Leaving
from worker_service.heartbeat import Heartbeat
from worker_service.held import Held
from worker_service.pace import Pace
from worker_service.queries import Claimed
from worker_service.registry import Registry
from worker_service.settings import WorkerSettings

log = structlog.get_logger(__name__)

#: Seconds after which a hint has had its share, and the pool process looks at the other queues.
SLICE = 0.2

#: Milliseconds for which the heartbeat waits for a row that somebody has locked: the leases of others must not end.
LOCKED = 300


class Runner:
    """Runs jobs in one process, one at a time. Connects at the first job."""

    def __init__(
        self,
        settings: WorkerSettings,
        registry: Registry,
        secrets: Secrets,
        tracer: Tracer,
        pace: Pace | None = None,
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._tracer = tracer
        # Told from all others: containers may share a host's name, and have pids of their own.
        self._worker = f"{socket.gethostname()}-{os.urandom(3).hex()}:{os.getpid()}"
        self._engine = self._database("taskhub-worker", BY_INDEX)
        handlers = [self._database("taskhub-handler", _unblocking(settings)) for _ in range(CONNECTIONS)]
        self._held = Held()
        heartbeat = self._database("taskhub-heartbeat", f"{BY_INDEX}; SET lock_timeout = {LOCKED}")
        self._heartbeat = Heartbeat(heartbeat, settings.lease_seconds, self._held, registry.timeouts)
        self._commits = Commits(handlers)
        self._attempts = Attempts(settings, registry, secrets, tracer, self._engine, self._commits, self._held)
        self._pace = pace or Pace()

    def run(self, queue: str) -> None:
        """Runs what is due in `queue`, until nothing is or the slice is over."""
        try:
            with self._heartbeat.watching():
                self._drain(queue)
                self._attempts.read_answers(all_of_them=True)
            # What the heartbeat could not write.
            self._attempts.write_group()
        finally:
            if self._held.closed:
                self._release()
                raise Leaving(0)

    def leave(self) -> NoReturn:
        """Interrupts the running job from a signal handler; `run` hands all back, and nobody waits for a lease."""
        self._held.closed = True
        raise Leaving(0)

    def interrupt(self) -> None:
        """Interrupts the running job from a signal handler, if it is still the one that was meant."""
        current = self._held.current
        if current is not None and current.verdict is not None and current.interruptible:
            raise Interrupted

    def close(self) -> None:
        """Closes the connections and sends the last spans."""
        self._heartbeat.close()
        self._engine.close()
        self._commits.close()
        self._tracer.close()

    def _database(self, name: str, setup: str) -> Database:
        return Database(self._settings.dsn, name, pooled=self._settings.pooled, setup=setup)

    def _drain(self, queue: str) -> None:
        end = time.monotonic() + SLICE
        while not self._held.closed and (jobs := self._claim(queue)):
            self._held.fill(jobs)
            started = time.monotonic()
            ran, seconds = self._attempts.run_batch()
            # Waiting for the disk is no work; but who waits behind it waits as well.
            self._pace.note(queue, ran, max(seconds, (time.monotonic() - started) / 5))
            if time.monotonic() >= end:
                self._wake_dispatcher()
                return

    def _release(self) -> None:
        # A connection of its own: the interrupted one may be in the middle of anything.
        self._engine.close()
        self._commits.close()
        try:
            jobs = queries.release_all(self._engine.connection, self._worker)
        except psycopg.Error:
            log.warning("release_failed")
        else:
            log.info("jobs_released", jobs=jobs)

    def _claim(self, queue: str) -> list[Claimed]:
        sent = False
        self._engine.renew()
        try:
            connection, session = self._engine.connection, self._engine.session
            sent = True
            return queries.claim(
                connection,
                queue,
                self._registry.kinds,
                self._settings.lease_seconds,
                self._worker,
                session=session,
                limit=self._pace.size(queue),
            )
        except psycopg.Error as error:
            # The dispatcher hints again when the database is back; one that only reads by now is left as well.
            log.warning("claim_failed", queue=queue, error=type(error).__name__)
            self._engine.close()
            if sent:
                self._return_unknown()
            return []

    def _return_unknown(self) -> None:
        """Hands back what the claim took if it was committed after all: nobody else would before the lease ends."""
        with contextlib.suppress(psycopg.Error):
            self._attempts.read_answers(all_of_them=True)
            self._attempts.settle(lambda connection: queries.release_all(connection, self._worker), self._engine)

    def _wake_dispatcher(self) -> None:
        try:
            queries.notify_jobs(self._engine.connection)
        except psycopg.OperationalError:
            self._engine.close()


def _unblocking(settings: WorkerSettings) -> str:
    """Returns what keeps an attempt that has ended, however it did, from blocking its successor.

    Whoever freezes inside a transaction is cut off, and a statement ends soon after its client: PostgreSQL itself looks
    only when there is something to be sent.
    """
    idleness = f"SET idle_in_transaction_session_timeout = {int(settings.lease_seconds * 1000)}"
    return f"{idleness}; SET client_connection_check_interval = '1s'"
