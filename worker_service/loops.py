"""All loops in one process, a thread each. Any number of copies may run."""

from __future__ import annotations

import signal
import threading
from contextvars import copy_context

import structlog

from shared.logs import configure
from shared.settings import load
from worker_service.database import BY_INDEX, Database
from worker_service.dispatcher import Dispatcher
from worker_service.gauges import Gauges
from worker_service.housekeeper import Housekeeper
from worker_service.loop import Loop
from worker_service.reaper import Reaper
from worker_service.registry import installed
from worker_service.sequencer import Sequencer
from worker_service.settings import WorkerSettings
from worker_service.supervisor import die_with_supervisor
from worker_service.transport import make_app

log = structlog.get_logger(__name__)


def main() -> None:
    """Turns the loops until SIGTERM or SIGINT."""
    settings = load(WorkerSettings)
    configure("worker-loops", settings.log_level)
    die_with_supervisor()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    threads = [_start(loop, stop) for loop in loops(settings)]
    log.info("loops_started")
    for thread in threads:
        thread.join()
    log.info("loops_stopped")


def _start(loop: Loop, stop: threading.Event) -> threading.Thread:
    # In a copy of the context, which holds the fields of every log line.
    thread = threading.Thread(target=copy_context().run, args=(loop.run, stop), name=loop.name)
    thread.start()
    return thread


def loops(settings: WorkerSettings) -> list[Loop]:
    """Returns the loops, each with a connection of its own."""
    registry = installed()
    app = make_app(settings.broker_url.get_secret_value(), registry.queues)
    return [
        Dispatcher(connect(settings, Dispatcher.name), app, registry),
        Reaper(connect(settings, Reaper.name), settings.lease_seconds),
        Sequencer(connect(settings, Sequencer.name)),
        Housekeeper(connect(settings, Housekeeper.name), settings.housekeeping_period_seconds),
        Gauges(connect(settings, Gauges.name), registry.queues),
    ]


def connect(settings: WorkerSettings, name: str) -> Database:
    """Returns the connection of a loop. A copy that freezes with a lock in its hands is cut off after a lease."""
    idleness = f"SET idle_in_transaction_session_timeout = {int(settings.lease_seconds * 1000)}"
    return Database(settings.direct_dsn, f"taskhub-{name}", pooled=False, setup=f"{BY_INDEX}; {idleness}")
