"""A crank that a process turns until it is told to stop."""

from __future__ import annotations

import threading
import time

import psycopg
import structlog
from kombu.exceptions import OperationalError

from worker_service import metrics
from worker_service.database import Database

log = structlog.get_logger(__name__)

#: What is wrong when a server is away, as opposed to us.
OUTAGES = (psycopg.OperationalError, psycopg.InterfaceError, OperationalError, OSError)

#: Seconds between two tries during an outage.
RETRY = 0.5


class Loop:
    """Does one thing again and again, in any number of copies, through any outage."""

    name: str
    #: Seconds between two turns when there is little to do.
    pause: float = 1.0
    #: How much a turn has to do for the next one to follow at once.
    full: int = 1

    def __init__(self, database: Database) -> None:
        self._database = database
        self._trouble: str | None = None

    def run_once(self) -> int:
        """Turns the crank once; returns how much was done."""
        raise NotImplementedError

    def run(self, stop: threading.Event) -> None:
        """Turns the crank until `stop` is set."""
        while not stop.is_set():
            if self._turn() < self.full:
                self.wait(stop)
        self.reset()

    def wait(self, stop: threading.Event) -> None:
        """Waits for the next turn."""
        stop.wait(self.pause if self._trouble is None else RETRY)

    def reset(self) -> None:
        """Lets go of connections; the next turn makes new ones."""
        self._database.close()

    def _turn(self) -> int:
        try:
            metrics.TICK.labels(self.name).set(time.time())
            done = self.run_once()
        except Exception as error:  # noqa: BLE001 - nothing may end a loop, and most of it is an outage
            self._suffer(error)
            return 0
        if self._trouble is not None:
            log.info("loop_recovered", loop=self.name)
            self._trouble = None
        return done

    def _suffer(self, error: Exception) -> None:
        self.reset()
        trouble = type(error).__name__
        if self._trouble is None:
            shown = None if isinstance(error, OUTAGES) else error
            log.warning("loop_in_trouble", loop=self.name, error=trouble, exc_info=shown)
        self._trouble = trouble
