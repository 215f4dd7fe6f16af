"""Liveness of one worker, as its supervisor's metrics tell it.

PostgreSQL and the broker are left out on purpose: their absence is waited for, and a restart would not help.
"""

from __future__ import annotations

import time
import urllib.request

from prometheus_client.parser import text_string_to_metric_families

from shared.settings import load
from worker_service.settings import WorkerSettings

#: Seconds after which a loop that has not turned counts as stuck.
STUCK = 60.0


def main() -> int:
    """Returns the exit status: 0 if all processes run and all loops turn."""
    address = load(WorkerSettings).worker_metrics_address.replace("0.0.0.0", "127.0.0.1")  # noqa: S104
    try:
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=3) as answer:
            text = answer.read().decode()
    except OSError:
        return 1
    return 0 if alive(text, time.time()) else 1


def alive(text: str, now: float) -> bool:
    """Returns whether the metrics in `text` are those of a worker that works."""
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    up = [sample.value for sample in samples if sample.name == "taskhub_worker_process_up"]
    ticks = [sample.value for sample in samples if sample.name == "taskhub_loop_tick_timestamp_seconds"]
    return bool(up) and all(up) and all(now - tick < STUCK for tick in ticks)
