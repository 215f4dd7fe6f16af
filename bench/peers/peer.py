"""Plain Celery on our own Redis, in an environment of its own: its defaults, apart from the broker's address."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import redis

from bench.harness import ROOT, Bench, running

PYTHON = ROOT / ".cache/bench-celery/bin/python"
FOLDER = Path(__file__).parent

#: A database of Redis that ours does not use.
DATABASE = "/1"
QUEUE = "celery"
UNACKNOWLEDGED = "unacked"
PUBLISHING = 120.0


class Peer:
    """Publishes tasks, starts a worker with as many pool processes as ours, and watches the queue empty."""

    def __init__(self, bench: Bench) -> None:
        if not PYTHON.exists():
            raise RuntimeError(f"{PYTHON} is missing: run `make bench`, which installs it")
        broker = bench.environment["TASKHUB_BROKER_URL"].removesuffix("/0") + DATABASE
        kept = {name: bench.environment[name] for name in ("PATH", "TASKHUB_DATABASE_URL")}
        quiet = {"PYTHONWARNINGS": "ignore"}  # of running as root, which containers do
        self._environment = {**kept, **quiet, "PEER_BROKER_URL": broker, "PYTHONPATH": str(FOLDER)}
        self._redis = redis.Redis.from_url(broker)
        self._concurrency = bench.environment.get("TASKHUB_WORKER_CONCURRENCY", "2")

    def drain(self, task: str, count: int, limit: float) -> float:
        """Returns the seconds from the first message taken to the last one done. Raises RuntimeError past the limit."""
        self._redis.flushdb()
        publish = [str(PYTHON), "-m", "plain_celery", task, str(count)]
        subprocess.run(publish, env=self._environment, check=True, timeout=PUBLISHING)
        worker = [str(PYTHON), "-m", "celery", "-q", "-A", "plain_celery", "worker", "--concurrency", self._concurrency]
        with running(worker, self._environment):
            end = time.monotonic() + limit
            self._wait(lambda left: left < count, end)
            began = time.monotonic()
            self._wait(lambda left: left == 0, end)
            return time.monotonic() - began

    def _wait(self, reached: Callable[[int], bool], end: float) -> None:
        while not reached(self._left()):
            if time.monotonic() > end:
                raise RuntimeError("plain Celery did not drain its queue in time")
            time.sleep(0.005)

    def _left(self) -> int:
        """Returns how many messages wait in Redis or in the worker."""
        with self._redis.pipeline() as both:
            both.llen(QUEUE)
            both.hlen(UNACKNOWLEDGED)
            waiting, taken = both.execute()
        return int(waiting) + int(taken)
