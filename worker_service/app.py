"""The Celery application of the worker: `celery -A worker_service.app worker`. Its composition root.

Nothing connects here; each pool process makes its own connections after the fork.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from types import FrameType
from typing import Any, NoReturn

from celery import signals

from shared.crypto import Secrets
from shared.logs import configure
from shared.settings import load
from shared.traces import Tracer
from worker_service.registry import installed
from worker_service.runner import Runner
from worker_service.settings import WorkerSettings
from worker_service.slots import Slots
from worker_service.supervisor import die_with_supervisor
from worker_service.transport import RUN, make_app
from worker_service.watchdog import Guard

settings = load(WorkerSettings)
registry = installed()
app = make_app(settings.broker_url.get_secret_value(), registry.queues)

_runner: Runner | None = None
#: Before the fork, so that all processes see it.
_slots = Slots()
_guard: Guard | None = None


@app.task(name=RUN)  # type: ignore[untyped-decorator] # celery has no types
def run(queue: str) -> None:
    """Runs what is due in `queue`."""
    # Here, and not when the process begins: billiard sets its own handler after that, which ends the process at the
    # second SIGTERM, and Celery sends two.
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGUSR2, _interrupt)
    with _slots.busy():
        _this_process().run(queue)


def _this_process() -> Runner:
    global _runner  # noqa: PLW0603 - one a process, made after the fork
    if _runner is None:
        secrets = Secrets(settings.secret_key.get_secret_value())
        _runner = Runner(settings, registry, secrets, Tracer("taskhub-worker", settings.otlp_endpoint))
    return _runner


@signals.setup_logging.connect  # type: ignore[untyped-decorator] # celery has no types
def _configure_logs(**_: Any) -> None:
    configure("worker", settings.log_level)
    logging.captureWarnings(capture=True)
    # A line for each hint says nothing that the attempt's own does not.
    logging.getLogger("celery").setLevel(logging.WARNING)


@signals.worker_init.connect  # type: ignore[untyped-decorator] # celery has no types
def _die_with_supervisor(**_: Any) -> None:
    die_with_supervisor()


@signals.worker_ready.connect  # type: ignore[untyped-decorator] # celery has no types
def _watch(sender: Any, **_: Any) -> None:
    global _guard  # noqa: PLW0603 - one a process
    pool = sender.controller.pool
    _guard = Guard(app, registry.queues, _slots, lambda: [each.pid for each in pool._pool._pool])  # noqa: SLF001
    _guard.start()


@signals.task_received.connect  # type: ignore[untyped-decorator] # celery has no types
def _note_message(**_: Any) -> None:
    if _guard is not None:
        _guard.came()


@signals.worker_process_init.connect  # type: ignore[untyped-decorator] # celery has no types
def _enter_process(**_: Any) -> None:
    _slots.clear()


@signals.worker_process_shutdown.connect  # type: ignore[untyped-decorator] # celery has no types
def _leave_process(exitcode: int, **_: Any) -> None:
    if _runner is not None:
        _runner.close()
    # Billiard would wait a second for a parent that only waits for this process: handed-back jobs would start later.
    os._exit(exitcode)


@signals.worker_shutting_down.connect  # type: ignore[untyped-decorator] # celery has no types
def _bound_shutdown(how: str, **_: Any) -> None:
    """Lets a warm shutdown wait for running jobs for a while, then makes it a cold one, which interrupts them."""
    if how == "Warm":
        timer = threading.Timer(settings.shutdown_grace_seconds, os.kill, (os.getpid(), signal.SIGQUIT))
        timer.daemon = True
        timer.start()


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    _this_process().interrupt()


def _leave(_signal: int, _frame: FrameType | None) -> NoReturn:
    # The second would interrupt the handing back.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _this_process().leave()
