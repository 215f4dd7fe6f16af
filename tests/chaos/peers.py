"""What plain Celery does under the faults that TaskHub stands: the comparison at the end of the table "Failure".

The same jobs (a row each), on the same machine, PostgreSQL and Redis, with as many workers and processes, in turn.
Plain Celery runs in the environment that `make bench` measures it in.
"""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import psutil
import psycopg

from bench.peers.peer import DATABASE, FOLDER, PYTHON
from shared.outbox import CHANNEL, INSERT_JOB, new_job
from tests.chaos import faults as f
from tests.chaos import kinds
from tests.chaos.evidence import Finding, median
from tests.chaos.harness import Order, Result
from tests.chaos.rows import Row
from tests.chaos.scene import Injected, Scene
from tests.chaos.stack import WORKERS, Stack, Worker
from tests.support.servers import eventually

ROUNDS = 3
JOBS, SECONDS = 300, 0.05
#: Seconds without another effect after which what is missing counts as lost: longer than a lease of ours, and than any
#: pause of Celery's but its visibility timeout of an hour.
SILENCE = {"ours": 20.0, "peer": 10.0}

Publish = Callable[[Sequence[uuid.UUID]], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the jobs of one round."""

    missing: int
    twice: int
    #: From the first effect to the last.
    seconds: float


class Rival(Stack):
    """A stack with workers of plain Celery in the place of ours, which have nothing to do meanwhile."""

    def __init__(self, stack: Stack, task: str) -> None:
        self._up = stack._up  # noqa: SLF001 - this is one, with other workers
        self._settings = stack._settings  # noqa: SLF001 - see above
        self._task = task
        broker = self.environment["TASKHUB_BROKER_URL"].removesuffix("/0") + DATABASE
        kept = {"PATH": os.environ["PATH"], "TASKHUB_DATABASE_URL": self.database, "PYTHONWARNINGS": "ignore"}
        self._environment = {**kept, "PEER_BROKER_URL": broker, "PYTHONPATH": str(FOLDER)}
        self._keepers: list[Worker] = []

    def __enter__(self) -> Self:
        """Returns once both workers have their processes."""
        pool = self.settings["worker_concurrency"]
        command = [str(PYTHON), "-m", "celery", "-q", "-A", "plain_celery", "worker", "--concurrency", str(pool)]
        for number in range(WORKERS):
            name = f"peer{number}"
            worker = [*command, "--hostname", name]
            self._keepers.append(Worker(self._environment, self.logs / f"{name}.log", worker))
        eventually(lambda: sum(len(each.children()) for each in self.workers()) == WORKERS * pool, 60)
        return self

    def __exit__(self, *_: object) -> None:
        """Takes the workers and their messages away."""
        for keeper in self._keepers:
            keeper.stop(grace=3)
        self.flush_redis()

    def workers(self) -> list[psutil.Process]:
        """Celery's parents."""
        return [psutil.Process(each.pid) for each in self._keepers if psutil.pid_exists(each.pid)]

    def publish(self, ids: Sequence[uuid.UUID]) -> None:
        """Sends a message for each job."""
        command = [str(PYTHON), "-m", "plain_celery", self._task, "-"]
        lines = "".join(f"{id_}\n" for id_ in ids)
        subprocess.run(command, env=self._environment, input=lines, text=True, check=True, timeout=60)  # noqa: S603


def enqueue(database: str) -> Publish:
    """Returns what enqueues with us: each row commits, and a NOTIFY hints at them."""

    def publish(ids: Sequence[uuid.UUID]) -> None:
        with psycopg.connect(database, autocommit=True) as connection:
            for id_ in ids:
                connection.execute(INSERT_JOB, {**new_job(kinds.ROW.kind, {"seconds": SECONDS}), "job_id": id_})
                connection.execute(f"NOTIFY {CHANNEL}")

    return publish


@contextlib.contextmanager
def _celery(stack: Stack, task: str) -> Iterator[tuple[Stack, Publish]]:
    with Rival(stack, task) as rival:
        yield rival, rival.publish


@contextlib.contextmanager
def _ours(stack: Stack) -> Iterator[tuple[Stack, Publish]]:
    eventually(stack.complete, 60)
    yield stack, enqueue(stack.database)


#: In the order in which they take their turns.
SYSTEMS: dict[str, Callable[[Stack], contextlib.AbstractContextManager[tuple[Stack, Publish]]]] = {
    "Celery as it comes": lambda stack: _celery(stack, "work"),
    "Celery, late": lambda stack: _celery(stack, "work_late"),
    "TaskHub": _ours,
}


def _row(id_: str, fault: str, must: str, *hits: f.Fault) -> Row:
    return Row(
        id_,
        fault=fault,
        load=f"{JOBS} jobs of {SECONDS * 1000:.0f} ms, two workers of two: plain Celery, Celery with late "
        f"acknowledgement, reject on lost and retry, TaskHub; {ROUNDS} rounds",
        must=f"TaskHub: missing 0, twice 0, the last effect {must}",
        loads=lambda _: [],
        schedule=lambda _, apart: f.each(apart, *hits),
        invariants=[],
        long={},
        short={},
        apart=(0.2, 1.0),
    )


COMPARISONS = {
    row.id: row
    for row in (
        _row("P1", "five SIGKILLs of a worker with all its processes", "within plain Celery's time + 5 s",
             *[f.kill_whole_worker] * 5),
        _row("P2", "Redis killed, back empty", "within 15 s", f.kill_redis),
        _row("P3", "PostgreSQL stopped in immediate mode", "within 10 s", f.crash_postgres),
    )
}  # fmt: skip


def compare(order: Order, folder: Path, say: Callable[[str], None]) -> tuple[Result, dict[str, Any]]:
    """Runs all systems in turn, and holds TaskHub to what it must. Returns the settings of the stacks as well.

    Each gets a fresh stack: who starts servers again takes longer for those that keep crashing.
    """
    began = time.monotonic()
    journal: list[Injected] = []
    outcomes: dict[str, list[Outcome]] = {name: [] for name in SYSTEMS}
    for number in range(ROUNDS):
        for name, system in SYSTEMS.items():
            place = folder / f"{len(journal)}"
            place.mkdir()
            with Stack(place, say) as stack, system(stack) as (up, publish):
                # The same dice for all.
                rng = random.Random(f"{order.seed} {order.row.id} {number}")  # noqa: S311 - replayable
                scene = Scene(up, rng, say, stack.settings["lease_seconds"])
                outcome, settings = _round(order, scene, publish), stack.settings
            say(f"{name}: missing {outcome.missing}, twice {outcome.twice}, {outcome.seconds:.1f} s")
            outcomes[name].append(outcome)
            journal += [Injected(each.time, f"{name}: {each.what}", each.pid) for each in scene.journal]
    findings = {"compared": _judged(order, outcomes)}
    return Result(order.row, order.seed, order.spacing, findings, journal, time.monotonic() - began), settings


def _round(order: Order, scene: Scene, publish: Publish) -> Outcome:
    ids = [uuid.uuid4() for _ in range(JOBS)]
    publish(ids)
    eventually(lambda: _outcome(scene.stack, ids).missing < JOBS, 60)
    for fault, (least, most) in order.row.schedule({}, order.spacing):
        scene.pause(scene.rng.uniform(least, most))
        fault(scene)
    last, since = JOBS, time.monotonic()
    silence = SILENCE["peer" if isinstance(scene.stack, Rival) else "ours"]
    while last and time.monotonic() - since < silence:
        with contextlib.suppress(psycopg.OperationalError):
            missing = _outcome(scene.stack, ids).missing
            if missing < last:
                last, since = missing, time.monotonic()
        time.sleep(0.1)
    return _outcome(scene.stack, ids)


def _outcome(stack: Stack, ids: Sequence[uuid.UUID]) -> Outcome:
    with psycopg.connect(stack.database) as connection:
        row = connection.execute(
            """
            SELECT count(DISTINCT job_id), count(*), extract(epoch FROM max(write_time) - min(write_time))
            FROM probe_ledger WHERE job_id = ANY(%s)
            """,
            [list(ids)],
        ).fetchone()
    assert row is not None
    return Outcome(JOBS - row[0], row[1] - row[0], float(row[2] or 0))


def _judged(order: Order, outcomes: dict[str, list[Outcome]]) -> Finding:
    figures: dict[str, float] = {}
    for name, found in outcomes.items():
        figures[f"{name}: missing least"] = min(each.missing for each in found)
        figures[f"{name}: missing most"] = max(each.missing for each in found)
        figures[f"{name}: twice"] = max(each.twice for each in found)
        figures[f"{name}: median s"] = median(each.seconds for each in found)
        figures[f"{name}: slowest s"] = max(each.seconds for each in found)
    celery = figures["Celery as it comes: slowest s"]
    limit = {"P1": celery + 5, "P2": 15, "P3": 10}[order.row.id]
    wrong = []
    for each in outcomes["TaskHub"]:
        if each.missing or each.twice:
            wrong.append(f"TaskHub: {each.missing} missing, {each.twice} done twice")
        if each.seconds > limit:
            wrong.append(f"TaskHub: the last effect came after {each.seconds:.1f} s, the limit is {limit:.1f} s")
    return Finding(figures, wrong)
