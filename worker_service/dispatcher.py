"""Turns due jobs into hints: messages that name a queue with work."""

from __future__ import annotations

import contextlib
import threading
from typing import Any

import psycopg
from celery import Celery
from kombu import Connection

from worker_service import metrics, queries
from worker_service.database import Connection as PostgresConnection
from worker_service.database import Database
from worker_service.loop import Loop
from worker_service.registry import Registry
from worker_service.transport import RUN

#: Hints that may lie in one broker queue. Where one lies, no idle slot consumes that queue; more than this many slots
#: free at once get theirs with the next turn. A superfluous hint costs one claim that finds nothing.
DEPTH = 32


class Dispatcher(Loop):
    """Wakes on the NOTIFY of whoever enqueued, else every second. Remembers nothing: an emptied broker is refilled."""

    name = "dispatcher"

    def __init__(self, database: Database, app: Celery, registry: Registry) -> None:
        super().__init__(database)
        self._app = app
        self._registry = registry
        self._broker: Connection | None = None
        self._channel: Any | None = None
        self._listener: PostgresConnection | None = None

    def run_once(self) -> int:
        """Sends hints for what is due; returns zero, since one turn sends all that there is room for."""
        self._listen()
        due = queries.due(self._database.connection, self._registry.queues, self._registry.kinds, DEPTH)
        for queue, jobs in due.items():
            self._hint(queue, jobs)
        return 0

    def wait(self, stop: threading.Event) -> None:
        """Waits for a NOTIFY, or the next poll. One wake-up takes all notifications that have arrived."""
        if self._trouble is not None or self._listener is None:
            super().wait(stop)
            return
        try:
            for _ in self._listener.notifies(timeout=self.pause, stop_after=1):
                pass
        except psycopg.Error:
            self.reset()

    def reset(self) -> None:
        """Lets go of both servers."""
        super().reset()
        self._listener = None
        broker, self._broker, self._channel = self._broker, None, None
        if broker is not None:
            with contextlib.suppress(Exception):
                broker.release()

    def _listen(self) -> None:
        connection = self._database.connection
        if connection is not self._listener:
            queries.listen(connection)
            self._listener = connection

    def _hint(self, queue: str, jobs: int) -> None:
        channel = self._open_channel()
        # Declaring what exists changes nothing and tells its depth. (A passive declare fails on Redis, where an empty
        # queue does not exist.)
        depth = channel.queue_declare(queue=queue, durable=True, exclusive=False, auto_delete=False).message_count
        producer = self._app.amqp.Producer(channel, auto_declare=False)
        for _ in range(min(jobs, DEPTH) - depth):
            self._app.send_task(RUN, args=[queue], queue=queue, producer=producer, retry=False, ignore_result=True)
            metrics.HINTS.labels(queue).inc()

    def _open_channel(self) -> Any:
        if self._broker is None or self._channel is None:
            self._broker = self._app.connection_for_write()
            self._channel = self._broker.channel()
        return self._channel
