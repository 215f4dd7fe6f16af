"""Extends the lease of a job while its handler runs, from a thread and a connection of its own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import structlog

from worker_service import queries
from worker_service.database import Database
from worker_service.queries import Claimed

log = structlog.get_logger(__name__)


class Heartbeat:
    """Beats at a third of the lease: two beats may fail before the lease ends. Short jobs never open the connection."""

    def __init__(self, dsn: str, lease: float) -> None:
        self._database = Database(dsn, "taskhub-heartbeat")
        self._lease = lease

    @contextmanager
    def of(self, job: Claimed) -> Iterator[None]:
        """Keeps the lease of `job` alive inside the block."""
        done = threading.Event()
        thread = threading.Thread(target=self._beat, args=(job, done), daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def close(self) -> None:
        """Closes the connection."""
        self._database.close()

    def _beat(self, job: Claimed, done: threading.Event) -> None:
        while not done.wait(self._lease / 3):
            if not self._extend(job):
                log.warning("lease_lost", job=str(job.id), kind=job.kind)
                return

    def _extend(self, job: Claimed) -> bool:
        try:
            return queries.extend(self._database.connection, job, self._lease)
        except psycopg.Error as error:
            log.warning("heartbeat_missed", job=str(job.id), error=type(error).__name__)
            self._database.close()
            return True
