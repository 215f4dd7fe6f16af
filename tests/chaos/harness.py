"""Runs a row: the load in processes of its own, the faults beside it, and afterwards the comparison."""

from __future__ import annotations

import contextlib
import multiprocessing
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from multiprocessing.context import SpawnProcess
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import psycopg

from tests.chaos import ledger
from tests.chaos.account import account
from tests.chaos.evidence import Evidence, Finding
from tests.chaos.invariants import Invariant
from tests.chaos.loads import Load
from tests.chaos.rows import Row
from tests.chaos.scene import Apart, Injected, Scene
from tests.chaos.stack import Stack
from tests.support.servers import eventually

#: Seconds after the last fault in which everything must have come to rest, or it is counted as it is then.
PATIENCE = 120.0

#: Clean interpreters, into which no thread and no lock of ours is copied.
_processes = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class Result:
    """What became of a row."""

    row: Row
    seed: int
    apart: Apart
    findings: dict[str, Finding]
    journal: Sequence[Injected]
    seconds: float
    #: What is known of the violations.
    account: Sequence[str] = ()

    @property
    def violations(self) -> list[str]:
        """Everything that should not have been."""
        return [violation for finding in self.findings.values() for violation in finding.violations]

    @property
    def figures(self) -> dict[str, float]:
        """The figures of all invariants; of equal names the worse."""
        found: dict[str, float] = {}
        for finding in self.findings.values():
            for name, figure in finding.figures.items():
                found[name] = max(figure, found.get(name, figure))
        return found

    def as_json(self) -> dict[str, Any]:
        """Returns what goes into the results file."""
        return {
            "id": self.row.id,
            "fault": self.row.fault,
            "load": self.row.load,
            "must_hold": self.row.must,
            "seed": self.seed,
            "apart": list(self.apart),
            "figures": {name: round(figure, 3) for name, figure in self.figures.items()},
            "verdict": "missed" if self.violations else "held",
            "violations": self.violations[:20],
            "violation_count": len(self.violations),
            "seconds": round(self.seconds, 1),
            "faults": [asdict(each) for each in self.journal],
        }


@dataclass(frozen=True)
class Order:
    """How a row is to be run."""

    row: Row
    seed: int
    short: bool = False
    apart: Apart | None = None
    #: Seconds of faults, where the row is bounded by time.
    length: float | None = None

    @property
    def spacing(self) -> Apart:
        """The pause between two faults."""
        return self.apart or self.row.apart

    @property
    def invariants(self) -> Sequence[Invariant]:
        """What must hold."""
        return self.row.invariants if self.short else [*self.row.invariants, *self.row.only_long]

    @property
    def sizes(self) -> dict[str, float]:
        """How much of everything."""
        sizes = dict(self.row.short if self.short else self.row.long)
        return sizes if self.length is None or "length" not in sizes else sizes | {"length": self.length}


def run(order: Order, stack: Stack, folder: Path, say: Callable[[str], None]) -> Result:
    """Runs a row on a stack that is up, and leaves it as it was: with everything running."""
    row, began = order.row, time.monotonic()
    compared = row.fault_free and not order.short
    fault_free = _fault_free(order, stack, folder / "fault-free", say) if compared else None
    rng = random.Random(f"{order.seed} {row.id}")  # noqa: S311 - replayable
    scene = Scene(stack, rng, say, stack.settings["lease_seconds"])
    before = stack.ours()
    gave_up = None
    with _clients(order, stack, folder / "ledger") as finish:
        try:
            eventually(lambda: _acknowledged(folder / "ledger"), PATIENCE)
            for fault, (shortest, longest) in row.schedule(order.sizes, order.spacing):
                scene.pause(rng.uniform(shortest, longest))
                fault(scene)
            scene.thaw()
            finish()
            _rest(stack, folder / "ledger", say)
        except AssertionError as error:
            # What the harness waited for in vain is a violation like any other; the rest is still compared.
            gave_up = f"the harness gave up after {[each.what for each in scene.journal[-1:]]}: {error}"
        finally:
            scene.thaw()
    evidence = _evidence(stack, scene, folder / "ledger", before, fault_free)
    findings = {invariant.__name__: invariant(evidence) for invariant in order.invariants}
    findings["came_to_rest"] = Finding(violations=[gave_up] if gave_up else [])
    result = Result(row, order.seed, order.spacing, findings, scene.journal, time.monotonic() - began)
    if not result.violations:
        return result
    return replace(result, account=account(evidence, scene.journal, result.violations))


def _evidence(
    stack: Stack, scene: Scene, folder: Path, before: dict[str, set[int]], fault_free: float | None
) -> Evidence:
    return Evidence(
        ledger=list(ledger.read(folder)),
        spans=scene.spans,
        database=stack.database,
        logs=stack.logs,
        before=before,
        after=stack.ours(),
        fault_free=fault_free,
        lease=stack.settings["lease_seconds"],
    )


def _fault_free(order: Order, stack: Stack, folder: Path, say: Callable[[str], None]) -> float:
    """Returns the seconds that the load takes without faults."""
    with _clients(order, stack, folder) as finish:
        finish()  # before that, what was sent is done again and again
        _wait_for_jobs(stack, folder)
    lines = [line for line in ledger.read(folder) if "job" in line]
    seconds: float = _last_end(stack, folder) - min(line["time"] for line in lines)
    say(f"without faults: {seconds:.1f} s")
    return seconds


@contextlib.contextmanager
def _clients(order: Order, stack: Stack, folder: Path) -> Iterator[Callable[[], None]]:
    """Starts the loads; what it yields ends them, and waits until the last client has its last answer."""
    folder.mkdir(parents=True)
    over = _processes.Event()
    loads = order.row.loads(order.sizes)
    clients = [_client(order, load, number, stack, folder, over) for number, load in enumerate(loads)]

    def finish() -> None:
        over.set()
        for client in clients:
            client.join(PATIENCE)
            assert client.exitcode == 0, f"a client of {order.row.id} ended with {client.exitcode}: its load is broken"

    try:
        for client in clients:
            client.start()
        yield finish
    finally:
        for client in clients:
            if client.is_alive():
                client.kill()
            client.join()


def _client(order: Order, load: Load, number: int, stack: Stack, folder: Path, over: Event) -> SpawnProcess:
    path, seed = folder / f"client-{number}.jsonl", f"{order.seed} {order.row.id} {number}"
    return _processes.Process(target=load.run, args=(stack.target, path, seed, over), daemon=True)


def _rest(stack: Stack, folder: Path, say: Callable[[str], None]) -> None:
    """Returns once no job is left and every process is back, or when patience is at an end: then it counts as it is."""
    say("waiting until everything is done")
    with contextlib.suppress(AssertionError):
        _wait_for_jobs(stack, folder)
    eventually(stack.complete, PATIENCE)


def _wait_for_jobs(stack: Stack, folder: Path) -> None:
    """Waits until the clients have enqueued all jobs and none is left."""
    open_ = "SELECT count(*) FROM jobs WHERE id = ANY(%s) AND state IN ('WAITING', 'RUNNING')"

    def done() -> bool:
        jobs = _sent(folder)
        time.sleep(0.1)  # a poll that is quicker would be a load of its own
        with psycopg.connect(stack.database) as connection:
            row = connection.execute(open_, [jobs]).fetchone()
        return row == (0,) and jobs == _sent(folder)

    eventually(done, PATIENCE)


def _sent(folder: Path) -> list[str]:
    return [line["job"] for line in ledger.read(folder) if line["what"] == "sent" and "job" in line]


def _acknowledged(folder: Path) -> bool:
    """Whether the load has begun to bite: a fault that comes before proves nothing."""
    return any(line["what"] == "ok" for line in ledger.read(folder))


def _last_end(stack: Stack, folder: Path) -> float:
    with psycopg.connect(stack.database) as connection:
        row = connection.execute("SELECT max(end_time) FROM jobs WHERE id = ANY(%s)", [_sent(folder)]).fetchone()
    assert row is not None
    ended: float = row[0].timestamp()
    return ended
