"""Keeps the worker's processes alive: the Celery worker and the loops, each started by exec, never by fork."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time

import structlog
from celery.platforms import set_pdeathsig
from prometheus_client import CollectorRegistry, Gauge, start_http_server
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from shared.logs import configure
from shared.settings import load
from worker_service.settings import WorkerSettings

log = structlog.get_logger(__name__)

#: The supervisor's pid in the environment of its processes, which do not outlive it, whatever happens to it.
SUPERVISED = "TASKHUB_WORKER_SUPERVISED"

#: Seconds from one start of a process to the next, at the least: one that dies at once does not spin, and one that had
#: lived is back without a pause.
RESTART = 1.0

#: Seconds that a process which was started again has to live before it counts as up: one that dies over and over never
#: does, or the health check would find it alive half of the time.
STEADY = 10.0

#: Seconds that a process may take to stop, beyond the grace of its running jobs, before it is killed.
PATIENCE = 10.0


def main() -> None:
    """Supervises until SIGTERM or SIGINT, and leaves nothing behind."""
    settings = load(WorkerSettings)
    configure("worker-supervisor", settings.log_level)
    with tempfile.TemporaryDirectory(prefix="taskhub-worker-") as directory:
        Supervisor(settings, directory).run()


def die_with_supervisor() -> None:
    """Ties this process to the supervisor that started it, if one did; ends it if that one is gone already."""
    supervisor = os.environ.get(SUPERVISED)
    if supervisor is not None:
        set_pdeathsig("SIGKILL")
        if os.getppid() != int(supervisor):
            os._exit(1)


def commands(settings: WorkerSettings) -> dict[str, list[str]]:
    """Returns the command line of each process, by name."""
    celery = [sys.executable, "-m", "celery", "-q", "-A", "worker_service.app", "worker"]
    concurrency = str(settings.worker_concurrency)
    found = {"celery": [*celery, "--concurrency", concurrency, "--without-gossip", "--without-mingle"]}
    if settings.worker_loops:
        found["loops"] = [sys.executable, "-m", "worker_service", "loops"]
    return found


class Supervisor:
    """Starts processes, starts them again when they die, and passes the signal to stop on to them."""

    def __init__(self, settings: WorkerSettings, directory: str) -> None:
        self._commands = commands(settings)
        self._patience = settings.shutdown_grace_seconds + PATIENCE
        self._directory = directory
        self._metrics_address = settings.worker_metrics_address
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._started: dict[str, float] = {}
        self._stop = threading.Event()
        self._registry = CollectorRegistry()
        MultiProcessCollector(self._registry, path=directory)
        self._up = Gauge("taskhub_worker_process_up", "Whether it keeps running.", ["process"], registry=self._registry)

    def run(self) -> None:
        """Returns once every process has ended after a signal."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop.set())
        self._serve_metrics()
        for name in self._commands:
            self._start(name)
            self._up.labels(name).set(1)
        while not self._stop.wait(0.1):
            for name, process in self._processes.items():
                self._watch(name, process)
        self._shut_down()

    def _start(self, name: str) -> None:
        environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": self._directory, SUPERVISED: str(os.getpid())}
        # In a session of its own: Ctrl-C reaches the supervisor alone, which tells the others.
        process = subprocess.Popen(self._commands[name], env=environment, start_new_session=True)  # noqa: S603
        self._processes[name] = process
        self._started[name] = time.monotonic()
        log.info("process_started", process=name, pid=process.pid)

    def _watch(self, name: str, process: subprocess.Popen[bytes]) -> None:
        status = process.poll()
        if status is None:
            if time.monotonic() - self._started[name] > STEADY:
                self._up.labels(name).set(1)
            return
        self._up.labels(name).set(0)
        mark_process_dead(process.pid, self._directory)
        log.error("process_died", process=name, pid=process.pid, status=status)
        lived = time.monotonic() - self._started[name]
        if not self._stop.wait(max(0.0, RESTART - lived)):
            self._start(name)

    def _shut_down(self) -> None:
        for process in self._processes.values():
            process.terminate()
        end = time.monotonic() + self._patience
        for name, process in self._processes.items():
            try:
                status = process.wait(max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                status = process.wait()
            log.info("process_stopped", process=name, status=status)

    def _serve_metrics(self) -> None:
        host, _, port = self._metrics_address.rpartition(":")
        try:
            start_http_server(int(port), host, self._registry)
        except OSError:
            # Jobs matter more than their metrics; without them the health check says so.
            log.exception("metrics_unavailable", address=self._metrics_address)
