"""Prometheus metrics of the API. Its processes write into files that the parent adds up and serves."""

from __future__ import annotations

import os
import shutil

from prometheus_client import Counter, Gauge, Histogram

CALLS = Counter("taskhub_calls", "Calls answered, by method and status.", ["method", "code"])
LATENCY = Histogram(
    "taskhub_call_seconds",
    "Time from the first interceptor to the answer.",
    ["method"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
DATABASE_UP = Gauge("taskhub_database_up", "Processes that reach PostgreSQL.", multiprocess_mode="livesum")
STREAMS = Gauge("taskhub_streams", "Streams of answers that are open.", multiprocess_mode="livesum")
AUTH_REFUSALS = Counter("taskhub_auth_refusals", "Calls of AuthService refused, by reason.", ["method", "reason"])
LOCKOUTS = Counter("taskhub_lockouts", "Times that somebody has to wait from now on, by what is counted.", ["subject"])
RATE_LIMIT_REFUSALS = Counter("taskhub_rate_limit_refusals", "Calls refused for coming too often, by class.", ["rate"])
RATE_LIMIT_DEGRADED = Gauge(
    "taskhub_rate_limit_degraded", "Processes that do not reach Redis and limit nobody.", multiprocess_mode="livesum"
)


def forget_metrics() -> None:
    """Removes the folder of the files, of which every process has its own open."""
    shutil.rmtree(os.environ["PROMETHEUS_MULTIPROC_DIR"], ignore_errors=True)
