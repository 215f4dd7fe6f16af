"""What a figure depends on: the machine, the versions, the settings, and who else was busy."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.harness import ROOT, Bench
from bench.limits.serving import POOL_SIZE
from bench.load import Load
from bench.rows.calls import ROWS
from bench.rows.jobs import PAUSES

PACKAGES = ("grpcio", "protobuf", "protovalidate", "psycopg", "uvloop", "celery", "redis")
POSTGRES = (
    "server_version", "fsync", "synchronous_commit", "full_page_writes", "shared_buffers", "max_wal_size",
    "max_connections", "jit",
)  # fmt: skip

NOTES = f"""\
Ratios are medians of the ratio in each round; the range of the rounds stands in brackets.
What runs is what `make run` starts, every interceptor on, with TASKHUB_API_PROCESSES=1: a limit is one process.
The limits are grpc.aio and psycopg_pool ({POOL_SIZE} connections, autocommit) on the same PostgreSQL, in asyncio's \
event loop. The same in uvloop, where the API runs, stands beside them with our share of it; no goal compares with that.
The load generator shares the machine with the server and PostgreSQL, for both sides alike.
Before each row the database is vacuumed and analyzed, and all events have their positions.
Jobs are enqueued with shared.outbox.INSERT_JOB and a NOTIFY after the commit: there is no CreateJob yet.
S7, S7b: ours is timed from the commit that makes all jobs due, plain Celery from the first message taken.
Plain Celery has its defaults (prefork, prefetch multiplier 4, early acknowledgement, no results) apart from the \
broker's address and the pool size, which are ours. Its row task keeps one connection a process.
S8: one job at a time, {PAUSES[0] * 1000:.0f} to {PAUSES[1] * 1000:.0f} ms apart, by the one clock of the machine.
""".splitlines()


def machine() -> dict[str, str]:
    """Returns what this runs on."""
    return {
        "processor": _processor(),
        "cores": f"{len(os.sched_getaffinity(0))}",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": ", ".join(f"{name} {version(name)}" for name in PACKAGES),
        "commit": _commit(),
        "load average": load_average(),
    }


def load_average() -> str:
    """Returns how many processes wanted a core in the last 1, 5 and 15 minutes."""
    return ", ".join(f"{value:.1f}" for value in os.getloadavg())


def settings(bench: Bench) -> dict[str, str]:
    """Returns what was set, as the processes of the stack read it; no secrets and no addresses."""
    load, effort = Load("", "", []), bench.effort
    return {
        "api": _of_service(bench, "api_service.settings", "ApiSettings"),
        "worker": _of_service(bench, "worker_service.settings", "WorkerSettings"),
        "postgres": ", ".join(f"{name} {_shown(bench, name)}" for name in POSTGRES),
        "load": f"{load.connections} connections, {load.streams} calls in flight on each, {ROWS} rows to read",
        "effort": f"{effort.rounds} rounds of {effort.seconds:g} s a side; {effort.job_rounds} rounds of"
        f" {effort.jobs:,} jobs; {effort.job_rounds} rounds of {effort.starts} starts",
    }


def _of_service(bench: Bench, module: str, name: str) -> str:
    command = f"from {module} import {name} as S; print(S().model_dump_json())"
    done = subprocess.run(
        [sys.executable, "-c", command], env=bench.environment, cwd=ROOT, check=True, capture_output=True, text=True
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return ", ".join(
        f"{key} {value}" for key, value in found.items() if not key.endswith(("url", "address", "secret_key"))
    )


def _shown(bench: Bench, name: str) -> str:
    row = bench.database.execute(f"SHOW {name}").fetchone()
    return str(row[0]) if row else ""


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"
