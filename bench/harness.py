"""What every row stands on: the stack of `make run` in a throw-away folder, the limits beside it, rounds in turn."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil
import psycopg

from bench.load import Load, Outcome
from devstack.demo.stack import ThrowAwayStack
from tests.support import kinds
from tests.support.limits import RAISED

ROOT = Path(__file__).parents[1]

#: How long a round may take beyond its load before something is wrong.
PATIENCE = 60.0
#: Seconds that the sequencer has for the events that a row leaves.
SETTLING = 30.0
TICK = os.sysconf("SC_CLK_TCK")

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured. Three rounds are the least of which a median says something."""

    rounds: int = 5
    seconds: float = 5.0
    jobs: int = 20_000
    starts: int = 300
    job_rounds: int = 3


@dataclass(frozen=True, slots=True)
class Sample:
    """One round of one server: what the load generator saw, and what the server's process spent on it."""

    outcome: Outcome
    cpu_ms: float  # user and system, a call

    @property
    def rate(self) -> float:
        """Calls answered OK in a second."""
        return self.outcome.rate


def cpu_seconds(pid: int) -> float:
    """Returns what a process has spent so far, all of its threads, user and system (proc(5), fields 14 and 15)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def generate(load: Load) -> Outcome:
    """Runs one load in a process of its own. Raises RuntimeError if a call was refused: half a load is no measure."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.load"], input=json.dumps(asdict(load)), capture_output=True, text=True,
        cwd=ROOT, timeout=load.seconds + PATIENCE, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise RuntimeError(f"the load generator failed:\n{done.stderr}")
    return Outcome(**json.loads(done.stdout))


def measure(pid: int, load: Load) -> Sample:
    """Puts a load on the process and returns what came of it. Raises RuntimeError where a call was refused."""
    before = cpu_seconds(pid)
    outcome = generate(load)
    if outcome.refused or not outcome.ok:
        raise RuntimeError(f"{load.path}: not every call was answered OK: {outcome.statuses}")
    return Sample(outcome, (cpu_seconds(pid) - before) / outcome.ok * 1000)


def alternate(rounds: int, *sides: Callable[[], Any]) -> list[tuple[Any, ...]]:
    """Returns what each side measured in each round. Who goes first changes: the second meets warmer caches."""
    found = []
    for number in range(rounds):
        order = range(len(sides)) if number % 2 == 0 else reversed(range(len(sides)))
        results = {index: sides[index]() for index in order}
        found.append(tuple(results[index] for index in range(len(sides))))
    return found


class Bench:
    """One run: the stack and the servers beside it, each started when a row first needs it."""

    def __init__(self, effort: Effort, say: Say, open_until: ExitStack) -> None:
        self.effort = effort
        self.say = say
        self._open = open_until

    @cached_property
    def folder(self) -> Path:
        """Where everything of this run lies."""
        return Path(self._open.enter_context(tempfile.TemporaryDirectory(prefix="taskhub-bench-")))

    @cached_property
    def stack(self) -> ThrowAwayStack:
        """The stack of `make run`, with one API process, since the limits are one process each."""
        self.say("starting the stack of `make run` on free ports")
        stack = ThrowAwayStack(self.folder, self.say, TASKHUB_API_PROCESSES="1", **RAISED, **kinds.environment())
        return self._open.enter_context(stack)

    @cached_property
    def environment(self) -> dict[str, str]:
        """What the services of the stack are told."""
        return {**os.environ, **RAISED, **self.stack.description["environment"]}

    @cached_property
    def database(self) -> psycopg.Connection[tuple[Any, ...]]:
        """A connection of our own, in autocommit."""
        url = self.environment["TASKHUB_DATABASE_URL"]
        return self._open.enter_context(psycopg.connect(url, autocommit=True))

    def settle(self) -> None:
        """Does what the row before has left to do, so that the next one does not pay for it.

        What it is: positions of events, and the vacuum and the statistics that PostgreSQL would begin at some moment.
        """
        if "stack" not in vars(self):
            return
        pending = "SELECT EXISTS (SELECT FROM events WHERE position IS NULL)"
        end = time.monotonic() + SETTLING
        while self.database.execute(pending).fetchone() == (True,) and time.monotonic() < end:
            time.sleep(0.1)
        self.database.execute("VACUUM (ANALYZE, SKIP_LOCKED)")

    @property
    def api_pid(self) -> int:
        """The one server process; its parent only watches over it."""
        parent = psutil.Process(self.stack.description["children"]["api"])
        (child,) = (each for each in parent.children() if "serve" in each.cmdline())
        return int(child.pid)

    def server(self, module: str, *arguments: str) -> tuple[int, str]:
        """Starts a module that prints the port it listens on; returns its process id and its address."""
        process = self._open.enter_context(running([sys.executable, "-m", module, *arguments], self.environment))
        assert process.stdout is not None  # noqa: S101  piped
        port = process.stdout.readline().strip()
        if not port:
            raise RuntimeError(f"{module} did not start")
        return process.pid, f"127.0.0.1:{port}"


@contextmanager
def running(command: Sequence[str], environment: Mapping[str, str]) -> Iterator[subprocess.Popen[str]]:
    """Runs a process for as long as the block lasts."""
    with subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def encoded(messages: Sequence[bytes]) -> list[str]:
    """Returns messages as a `Load` carries them."""
    return [base64.b64encode(message).decode() for message in messages]
