"""Looks after what a process holds while its handlers run, from a thread and a connection of its own."""

from __future__ import annotations

import os
import signal
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import psycopg
import structlog

from shared.errors import TaskHubError
from worker_service import queries
from worker_service.database import Database
from worker_service.errors import Cancelled, TimedOut
from worker_service.held import Current, Held

log = structlog.get_logger(__name__)

#: Seconds between two looks. A group of pure jobs is written within twice that, whatever runs meanwhile.
TICK = 0.01

#: The same, once a job has run for longer than `LONG`: nothing else is on its way then.
IDLE_TICK = 0.1

#: Seconds after which a job is long: those of its batch that have not started are handed back.
LONG = 0.25

#: Longest pause between two beats, well below the silence after which a worker whose session is gone is given up.
BEAT = 1.0

#: Seconds that a handler has to notice that it was cancelled, before it is interrupted.
CANCEL_GRACE = 10.0

#: Seconds that an interrupted handler has, before its process is killed.
DOOM_GRACE = 10.0


class Heartbeat:
    """Beats at a third of the lease: two beats may fail before the lease ends. Short jobs never open the connection.

    Handlers run in the main thread, which a signal interrupts when a job is cancelled or takes too long.
    """

    def __init__(self, database: Database, lease: float, held: Held, timeouts: Mapping[str, float | None]) -> None:
        self._database = database
        self._lease = lease
        self._held = held
        self._timeouts = timeouts
        self._beat_pause = min(BEAT, lease / 3)
        self._last_beat = 0.0
        self._active = threading.Event()
        self._closed = False
        self._missed = False
        #: Held while a group is written: nobody else has its jobs then.
        self._writing = threading.Lock()
        self._returning: dict[uuid.UUID, int] = {}
        self._thread: threading.Thread | None = None

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Looks after what is held inside the block; what it could not write by the end is held again."""
        self._last_beat = time.monotonic()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
            self._thread.start()
        self._active.set()
        try:
            yield
        finally:
            self._active.clear()
            with self._writing:
                pass

    def close(self) -> None:
        """Ends the thread and closes the connection."""
        self._closed = True
        self._active.set()
        if self._thread is not None:
            self._thread.join()
        self._database.close()

    def _run(self) -> None:
        while self._active.wait() and not self._closed:
            current = self._held.current
            long = current is not None and time.monotonic() - current.start > LONG
            time.sleep(IDLE_TICK if long else TICK)
            try:
                self._look()
                self._missed = False
            except Exception as error:
                if not self._missed:  # one line for each outage
                    shown = None if isinstance(error, psycopg.Error) else error
                    log.warning("heartbeat_missed", error=type(error).__name__, exc_info=shown)
                self._missed = True
                self._database.close()
                time.sleep(IDLE_TICK)

    def _look(self) -> None:
        # First: nothing else that fails may keep it waiting.
        if time.monotonic() - self._last_beat >= self._beat_pause:
            self._beat()
        self._write_group()
        current = self._held.current
        if current is not None and time.monotonic() - current.start > LONG:
            self.hand_back()
            self._judge(current)

    def _write_group(self) -> None:
        with self._writing:
            group = self._held.take_group(age=TICK)
            if not group:
                return
            try:
                refused = len(group) - queries.succeed_all(self._database.connection, group)
            except BaseException:
                self._held.return_group(group)
                raise
        if refused:
            log.warning("attempts_refused", jobs=refused)

    def hand_back(self) -> None:
        """Returns to the queue what has not started, with the next look if not with this one."""
        self._returning |= {job.id: job.claim_token for job in self._held.take_waiting()}
        if self._returning:
            released = queries.release(self._database.connection, self._returning)
            self._returning = {}
            log.info("jobs_released", jobs=released)

    def _beat(self) -> None:
        current, held = self._held.current, self._held.all()
        if not held:
            return
        kept = queries.extend(self._database.connection, held, self._lease)
        self._last_beat = time.monotonic()
        if current is None:
            return
        if kept.get(current.job.id, False) and current.cancel_time is None:
            current.cancel_time = time.monotonic()
        if current.progress is not None:
            (fraction, note), current.progress = current.progress, None
            queries.report(self._database.connection, current.job, fraction, note)

    def _judge(self, current: Current) -> None:
        now = time.monotonic()
        if not current.interruptible:
            return
        if current.verdict is not None:
            if now - current.doom_time > DOOM_GRACE:
                log.error("handler_killed", job=str(current.job.id), kind=current.job.kind)
                os.kill(os.getpid(), signal.SIGKILL)
            return
        timeout = self._timeouts.get(current.job.kind)
        if timeout is not None and now - current.start > timeout:
            self._doom(current, TimedOut())
        elif current.cancel_time is not None and now - current.cancel_time > CANCEL_GRACE:
            self._doom(current, Cancelled())

    def _doom(self, current: Current, verdict: TaskHubError) -> None:
        current.doom_time = time.monotonic()
        current.verdict = verdict
        main = threading.main_thread().ident
        if main is not None:
            signal.pthread_kill(main, signal.SIGUSR2)
