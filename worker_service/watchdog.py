"""Notices that Celery has stopped to consume, and ends the worker so that its supervisor starts it anew.

Celery 5.7 on Redis was seen to sit there for good, its own heartbeat still ticking, after Redis had crashed and pool
processes had been killed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import structlog
from celery import Celery

from worker_service.slots import Slots

log = structlog.get_logger(__name__)

#: Seconds that messages may lie there beside a free slot; the second time in a row is one too many.
PATIENCE = 10.0

#: Seconds between two looks.
TICK = 1.0

#: Seconds that the pool has to hand back what it runs.
FAREWELL = 3.0

#: The worker's exit status.
STATUS = 70


class Watchdog:
    """Counts how often in a row nothing came although the broker has just answered, has work, and a slot is free."""

    def __init__(self, patience: float = PATIENCE) -> None:
        self._patience = patience
        self._since: float | None = None
        self._strikes = 0

    def look(self, now: float, *, waiting: bool, free: bool, came: float) -> bool:
        """Takes a look at the monotonic time `now`; returns whether the worker has stopped to consume.

        `waiting`: the broker has answered and holds messages. `came`: when the last message came.
        """
        if not (waiting and free):
            self._since, self._strikes = None, 0
            return False
        if self._since is None or came > self._since:
            self._since, self._strikes = now, 0
        elif now - self._since >= self._patience:
            self._since, self._strikes = now, self._strikes + 1
        return self._strikes > 1


class Guard:
    """The watchdog's thread in Celery's main process, with a connection of its own to the broker."""

    def __init__(self, app: Celery, queues: Iterable[str], slots: Slots, pool: Callable[[], list[int]]) -> None:
        self._app = app
        self._queues = list(queues)
        self._slots = slots
        self._pool = pool
        self._watchdog = Watchdog()
        self._came = time.monotonic()
        self._broker: Any | None = None

    def came(self) -> None:
        """Notes that a message has come."""
        self._came = time.monotonic()

    def start(self) -> None:
        """Watches from now on."""
        threading.Thread(target=self._run, name="watchdog", daemon=True).start()

    def _run(self) -> None:
        while not self._turn():
            time.sleep(TICK)
        log.error("worker_stopped_consuming")
        self._end()

    def _turn(self) -> bool:
        waiting = self._waiting()
        free = self._slots.free(self._pool())
        return self._watchdog.look(time.monotonic(), waiting=waiting, free=free, came=self._came)

    def _waiting(self) -> bool:
        """Returns whether the broker answers and holds messages; whatever is wrong with it is not for us to mend."""
        try:
            if self._broker is None:
                self._broker = self._app.connection_for_read()
                # Once: who waits for a broker that is away learns nothing from its coming back.
                self._broker.connect()
            return any(self._depth(self._broker, queue) for queue in self._queues)
        except Exception:  # noqa: BLE001 - kombu lets through whatever its transports raise
            broker, self._broker = self._broker, None
            with contextlib.suppress(Exception):
                broker.release()  # type: ignore[union-attr] # None is suppressed as well
            return False

    def _depth(self, broker: Any, queue: str) -> int:
        declared = broker.default_channel.queue_declare(queue=queue, durable=True, exclusive=False, auto_delete=False)
        return int(declared.message_count)

    def _end(self) -> None:
        pool = self._pool()
        for pid in pool:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        end = time.monotonic() + FAREWELL
        while time.monotonic() < end and not self._slots.idle(pool):
            time.sleep(0.05)
        os._exit(STATUS)
