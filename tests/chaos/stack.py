"""The stack under test: the very one that `make run` starts, on free ports, with a second worker beside it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
import psycopg
import redis

from api_service.settings import ApiSettings
from devstack.demo.stack import ThrowAwayStack
from devstack.ports import LOOPBACK, Address, Ports
from tests.chaos import kinds
from tests.chaos.client import Target
from tests.support.limits import RAISED
from tests.support.servers import ROOT, eventually
from worker_service.settings import WorkerSettings

Say = Callable[[str], None]
WORKERS = 2
COMMAND = [sys.executable, "-m", "worker_service"]


class Worker:
    """A worker of our own beside the stack's, brought up again when it dies, as any supervisor would."""

    def __init__(self, environment: dict[str, str], log: Path, command: list[str] = COMMAND) -> None:
        self._environment = environment
        self._command = command
        self._log = log
        self._stopping = threading.Event()
        self._process = self._start()
        self._keeper = threading.Thread(target=self._keep, daemon=True)
        self._keeper.start()

    def _start(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen(  # noqa: S603 - ours, and the peer's
                self._command,
                cwd=ROOT,
                env=self._environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _keep(self) -> None:
        while not self._stopping.wait(0.1):
            if self._process.poll() is not None:
                self._process = self._start()

    @property
    def pid(self) -> int:
        """The process that runs now."""
        return self._process.pid

    def stop(self, grace: float = 30) -> None:
        """Ends it for good, with what it has started."""
        started = psutil.Process(self.pid).children(recursive=True)
        self._stopping.set()
        self._keeper.join()
        self._process.terminate()
        try:
            self._process.wait(grace)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for each in started:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()


class Stack:
    """A whole stack with two workers, an administrator to call as, and the tables for effects."""

    def __init__(self, folder: Path, say: Say, **settings: str) -> None:
        self._folder = folder
        self._settings = RAISED | settings | kinds.environment()
        self._up = ThrowAwayStack(folder, say, **self._settings)

    def __enter__(self) -> Self:
        """Returns once both workers wait for messages."""
        self._up.__enter__()
        try:
            self._complete()
        except BaseException:
            self._up.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Takes everything away."""
        self._second.stop()
        self._up.__exit__(kind, error, trace)

    def _complete(self) -> None:
        with psycopg.connect(self.database, autocommit=True) as connection:
            connection.execute(kinds.TABLES)
        metrics = Ports(self._folder / "ports.json").claim(Address(LOOPBACK, 0), "TASKHUB_WORKER_METRICS_ADDRESS")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TASKHUB_")}
        environment |= self._settings | self.environment | {"TASKHUB_WORKER_METRICS_ADDRESS": str(metrics)}
        self._second = Worker(environment, self.logs / "worker2.log")
        try:
            self.target = Target(self._up.grpc, self.database, list(self._up.administrator().items()))
            eventually(self.complete, 60)
        except BaseException:
            self._second.stop()
            raise

    def complete(self) -> bool:
        """Whether every process is there: API, Redis, and two workers with their pools and loops."""
        pool = len(self.workers()) * self.settings["worker_concurrency"]
        return (
            len(self.workers()) == len(self.celery()) == len(self.loops()) == WORKERS
            and len(self.pool()) == pool
            and len(self.api_servers()) == self.settings["api_processes"]
            and self.redis_answers()
        )

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of the services, as they read them, without what is secret."""
        told = {name.removeprefix("TASKHUB_").lower(): value for name, value in self.environment.items()}
        told |= {n.removeprefix("TASKHUB_").lower(): v for n, v in self._settings.items() if n.startswith("TASKHUB_")}
        found: dict[str, Any] = {}
        for kind in (ApiSettings, WorkerSettings):
            read = kind.model_validate({name: value for name, value in told.items() if name in kind.model_fields})
            found |= read.model_dump(mode="json")
        return {name: value for name, value in sorted(found.items()) if "url" not in name and name != "secret_key"}

    @property
    def environment(self) -> dict[str, str]:
        """What the services were told."""
        told: dict[str, str] = self._up.description["environment"]
        return told

    @property
    def addresses(self) -> dict[str, str]:
        """Where everything listens."""
        found: dict[str, str] = self._up.description["addresses"]
        return found

    @property
    def database(self) -> str:
        """The connection string of the database under test."""
        return self.environment["TASKHUB_DATABASE_URL"]

    @property
    def logs(self) -> Path:
        """Where every process writes its log."""
        return Path(self._up.description["data_dir"]) / "logs"

    def supervisor(self) -> psutil.Process:
        """The devstack, which starts everything and brings it up again."""
        return psutil.Process(self._up.description["pid"])

    def _servers(self, *words: str) -> list[psutil.Process]:
        return [each for each in self.supervisor().children() if _says(each, *words)]

    def api(self) -> list[psutil.Process]:
        """The parent of the API's server processes."""
        return self._servers("-m", "api_service")

    def api_servers(self) -> list[psutil.Process]:
        """The API's server processes."""
        return _children(self.api(), "serve")

    def workers(self) -> list[psutil.Process]:
        """The workers' supervisors: the stack's, and ours."""
        return [*self._servers("-m", "worker_service"), *_living([self._second.pid])]

    def celery(self) -> list[psutil.Process]:
        """The parents of the pools."""
        return _children(self.workers(), "celery")

    def pool(self) -> list[psutil.Process]:
        """The pools' children, which run the jobs."""
        return _children(self.celery(), "celery")

    def loops(self) -> list[psutil.Process]:
        """The processes of dispatcher, reaper and sequencer."""
        return _children(self.workers(), "loops")

    def redis(self) -> list[psutil.Process]:
        """Redis."""
        return self._servers("redis-server")

    def postgres(self) -> list[psutil.Process]:
        """The postmaster."""
        return self._servers("postgres", "-D")

    def ours(self) -> dict[str, set[int]]:
        """The pids of all processes of the services, by role."""
        roles = (self.api, self.api_servers, self.workers, self.celery, self.pool, self.loops)
        return {role.__name__: {each.pid for each in role()} for role in roles}

    def redis_answers(self) -> bool:
        """Whether Redis serves."""
        client = redis.Redis.from_url(
            self.environment["TASKHUB_BROKER_URL"], socket_timeout=0.5, socket_connect_timeout=0.5
        )
        try:
            return bool(client.ping())
        except (redis.RedisError, OSError):
            return False
        finally:
            client.close()

    def flush_redis(self) -> None:
        """Empties Redis."""
        client = redis.Redis.from_url(self.environment["TASKHUB_BROKER_URL"], socket_timeout=5)
        client.flushall()
        client.close()

    def limit_redis(self, size: int) -> None:
        """Bounds Redis to so many bytes, or not at all."""
        client = redis.Redis.from_url(self.environment["TASKHUB_BROKER_URL"], socket_timeout=5)
        client.config_set("maxmemory", size)
        client.close()

    def database_answers(self) -> bool:
        """Whether PostgreSQL takes connections and queries."""
        try:
            with psycopg.connect(self.database, connect_timeout=2, autocommit=True) as connection:
                return connection.execute("SELECT 1").fetchone() == (1,)
        except psycopg.OperationalError:
            return False


def _says(process: psutil.Process, *words: str) -> bool:
    """Whether the process lives and these words stand in its command line, in this order."""
    try:
        command = process.cmdline()
    except psutil.Error:
        return False
    return " ".join(words) in " ".join(command) if process.is_running() else False


def _children(parents: list[psutil.Process], word: str) -> list[psutil.Process]:
    found = []
    for parent in parents:
        try:
            found += [child for child in parent.children() if _says(child, word)]
        except psutil.NoSuchProcess:
            continue
    return found


def _living(pids: list[int]) -> list[psutil.Process]:
    return [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid) and _says(psutil.Process(pid), "worker")]


def await_gone(process: psutil.Process, seconds: float) -> float | None:
    """Returns the seconds until the process is gone, or None if it stays."""
    began = time.monotonic()
    try:
        process.wait(seconds)
    except psutil.TimeoutExpired:
        return None
    return time.monotonic() - began
