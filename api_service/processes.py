"""The parent of the server processes: starts each by exec, brings a killed one up again, adds up their metrics.

It never loads grpc, whose runtime does not survive a fork, and never touches the database.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from types import FrameType
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from api_service.settings import ApiSettings
from shared.settings import EXIT_SETTINGS

log = structlog.get_logger()

#: A process that lived for less is brought up again with a pause, so that a broken one does not spin.
_SHORT_LIFE = 5.0
_PAUSE = 1.0


class Processes:
    """The children, by index."""

    def __init__(self, settings: ApiSettings) -> None:
        self._settings = settings
        self._stopping = threading.Event()
        self._code = 0
        self._children: dict[int, subprocess.Popen[bytes]] = {}
        self._started: dict[int, float] = {}
        self._metrics = tempfile.mkdtemp(prefix="taskhub-api-metrics-")

    def run(self) -> int:
        """Runs until SIGTERM or SIGINT, or until a child finds the settings wrong; returns the exit code."""
        try:
            self._claim_address()
            self._serve_metrics()
        except OSError as error:
            print(f"taskhub: {error}", file=sys.stderr)  # noqa: T201  one clear line for whoever started us
            return 1
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        try:
            for index in range(self._settings.api_processes):
                self._start(index)
            while not self._stopping.wait(0.1):
                self._revive()
            self._drain()
        finally:
            shutil.rmtree(self._metrics, ignore_errors=True)
        return self._code

    def _claim_address(self) -> None:
        """Refuses an address that somebody else has; the children share theirs, and would share it with anybody."""
        host, _, port = self._settings.grpc_address.rpartition(":")
        family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host.strip("[]"), int(port)))
            except OSError as error:
                raise OSError(f"TASKHUB_GRPC_ADDRESS {self._settings.grpc_address}: {error.strerror}") from error

    def _serve_metrics(self) -> None:
        host, _, port = self._settings.metrics_address.rpartition(":")
        registry = CollectorRegistry()
        MultiProcessCollector(registry, path=self._metrics)
        try:
            start_http_server(int(port), host.strip("[]"), registry)
        except OSError as error:
            raise OSError(f"TASKHUB_METRICS_ADDRESS {self._settings.metrics_address}: {error.strerror}") from error

    def _start(self, index: int) -> None:
        environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": self._metrics}
        command = [sys.executable, "-m", "api_service", "serve", "--index", str(index), "--parent", str(os.getpid())]
        self._children[index] = subprocess.Popen(command, env=environment)  # noqa: S603  ourselves
        self._started[index] = time.monotonic()

    def _revive(self) -> None:
        for index, child in list(self._children.items()):
            code = child.poll()
            if code is None:
                continue
            mark_process_dead(child.pid, self._metrics)
            if code == EXIT_SETTINGS:  # it has said why; the next one would say the same
                self._code = code
                self._stopping.set()
                return
            log.error("process_died", process=index, pid=child.pid, code=code)
            if time.monotonic() - self._started[index] < _SHORT_LIFE:
                self._stopping.wait(_PAUSE)
            if not self._stopping.is_set():
                self._start(index)

    def _stop(self, number: int, frame: FrameType | None) -> Any:  # noqa: ARG002  the signature of a handler
        self._stopping.set()

    def _drain(self) -> None:
        for child in self._children.values():
            child.terminate()
        deadline = time.monotonic() + self._settings.drain_delay_seconds + self._settings.drain_seconds + 1
        for child in self._children.values():
            try:
                child.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
