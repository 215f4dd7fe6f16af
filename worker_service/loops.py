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
        Dispatcher(_database(settings, Dispatcher.name), app, registry),
        Reaper(_database(settings, Reaper.name), settings.lease_seconds),
        Sequencer(_database(settings, Sequencer.name)),
        Housekeeper(_database(settings, Housekeeper.name), settings.housekeeping_period_seconds),
        Gauges(_database(settings, Gauges.name), registry.queues),
    ]


def _database(settings: WorkerSettings, name: str) -> Database:
    return Database(settings.direct_dsn, f"taskhub-{name}", pooled=False, setup=BY_INDEX)
