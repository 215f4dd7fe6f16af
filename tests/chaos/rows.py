"""The rows of the table "Failure" (goals.md), each put together from a load, faults and invariants."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from tests.chaos import faults as f
from tests.chaos import invariants as i
from tests.chaos import loads as l
from tests.chaos.faults import Fault
from tests.chaos.invariants import Invariant
from tests.chaos.loads import Load
from tests.chaos.scene import Apart

Sizes = Mapping[str, float]
Schedule = Iterable[tuple[Fault, Apart]]


@dataclass(frozen=True)
class Row:
    """One line of the table. `long` is what `make chaos` runs, `short` what `make test` runs."""

    id: str
    fault: str
    load: str
    must: str
    loads: Callable[[Sizes], Sequence[Load]]
    #: The faults in order, each with the pause before it; the second argument is that pause.
    schedule: Callable[[Sizes, Apart], Schedule]
    invariants: Sequence[Invariant]
    long: Sizes
    short: Sizes
    #: What takes the long form to be told from noise.
    only_long: Sequence[Invariant] = ()
    #: Seconds between two faults, unless the command line names others.
    apart: Apart = (0.2, 2.0)
    #: Whether the long form's load runs once without faults, for comparison.
    fault_free: bool = False


NEVER: Apart = (0.0, 0.0)
JOBS = (i.no_job_is_lost, i.no_effect_happens_twice)
WRITES = (i.no_write_is_lost, i.no_write_happens_twice)


def _during(name: str, seconds: float) -> Fault:
    return lambda scene: scene.during(name, seconds)


def _jobs(n: Sizes) -> Load:
    count = int(n["jobs"])
    return l.load(l.enqueue_jobs, count=count, seconds=n["seconds"], stepped=count // 10)


F1 = Row(
    "F1",
    fault="SIGKILL of pool children, pools, whole workers, loops",
    load="jobs of 20 ms on two workers of two",
    must="lost 0, twice 0; drained within the fault-free time + 20 s",
    loads=lambda n: [_jobs(n)],
    schedule=lambda n, apart: f.mixed(
        int(n["kills"]), apart, f.kill_pool_child, f.kill_pool_child, f.kill_celery, f.kill_worker, f.kill_loops
    ),
    invariants=JOBS,
    only_long=[i.drained_in_time],
    long={"jobs": 2000, "seconds": 0.02, "kills": 20},
    short={"jobs": 800, "seconds": 0.02, "kills": 4},
    fault_free=True,
)

F2 = Row(
    "F2",
    fault="Redis: FLUSHALL, SIGKILL, back empty",
    load="jobs of 20 ms on two workers of two, and CreateTask",
    must="lost 0, twice 0; no API call fails",
    loads=lambda n: [_jobs(n), l.load(l.call_steadily, clients=4, rate=20)],
    schedule=lambda n, apart: f.each(apart, *[f.flush_redis] * int(n["flushes"]), *[f.kill_redis] * int(n["kills"])),
    invariants=[*JOBS, i.no_try_fails, i.no_write_is_lost],
    only_long=[i.drained_in_time],
    long={"jobs": 2000, "seconds": 0.02, "flushes": 5, "kills": 3},
    short={"jobs": 500, "seconds": 0.02, "flushes": 2, "kills": 1},
    fault_free=True,
)

F3 = Row(
    "F3",
    fault="Redis absent, then SIGSTOPped",
    load="CreateTask 40 a second, 5 jobs a second",
    must="CreateTask OK, p99 ≤ twice the normal + 10 ms; jobs done within 10 s of the return; no watchdog",
    loads=lambda _: [l.load(l.call_steadily, clients=4, rate=40), l.load(l.trickle_jobs, rate=5, seconds=0.02)],
    schedule=lambda n, _: [
        (_during("normal", n["normal"]), (1.0, 1.0)),
        (lambda scene: f.remove_redis(scene, n["away"]), NEVER),
        (_during("between", n["between"]), NEVER),
        (lambda scene: f.freeze_redis(scene, n["away"]), NEVER),
        (_during("afterwards", n["between"]), NEVER),
    ],
    invariants=[
        *JOBS,
        i.no_try_fails,
        i.no_write_is_lost,
        i.done_after_redis_returned,
        i.watchdog_is_silent,
        i.nothing_of_ours_restarted,
    ],
    only_long=[i.latency_stays],
    long={"normal": 30, "away": 30, "between": 12},
    short={"normal": 0.5, "away": 4, "between": 1},
)

F4 = Row(
    "F4",
    fault="PostgreSQL stopped in immediate mode (SIGQUIT)",
    load="CreateTask and CompleteTask with keys and retries, 5 jobs a second",
    must="lost 0, twice 0, no job charged; UNAVAILABLE within 1 s; OK within 5 s of its return; no restart of ours",
    loads=lambda _: [l.load(l.write_tasks, clients=8), l.load(l.trickle_jobs, rate=5, seconds=0.02)],
    schedule=lambda n, apart: [
        *[(f.crash_postgres, apart)] * int(n["crashes"]),
        (_during("afterwards", n["afterwards"]), NEVER),
    ],
    invariants=[
        *JOBS,
        *WRITES,
        i.no_job_is_charged,
        i.no_call_fails,
        i.refused_at_once,
        i.ok_again,
        i.nothing_of_ours_restarted,
    ],
    long={"crashes": 5, "afterwards": 6},
    short={"crashes": 1, "afterwards": 2},
    apart=(1.0, 4.0),
)

F5 = Row(
    "F5",
    fault="SIGKILL of API server processes, now and then of their parent",
    load="CreateTask and CompleteTask with keys and retries",
    must="lost 0, twice 0",
    loads=lambda _: [l.load(l.write_tasks, clients=16)],
    schedule=lambda n, apart: f.mixed(int(n["kills"]), apart, *[f.kill_api_server] * 9, f.kill_api_parent),
    invariants=[*WRITES, i.no_call_fails],
    long={"kills": 20},
    short={"kills": 3},
)

F6 = Row(
    "F6",
    fault="SIGTERM to API server processes, then to their parent",
    load="CreateTask and CompleteTask with keys and retries",
    must="failed calls 0; gone within 10 s",
    loads=lambda _: [l.load(l.write_tasks, clients=16)],
    schedule=lambda n, apart: f.each(apart, *[f.stop_api_server] * int(n["servers"]), f.stop_api, shuffled=False),
    invariants=[*WRITES, i.no_call_fails, i.gone_in_time],
    long={"servers": 6},
    short={"servers": 1},
    apart=(1.0, 2.0),
)

F7 = Row(
    "F7",
    fault="SIGTERM to workers and to pools",
    load="jobs that outlast the grace, and of 0.2 s",
    must="finished or handed back at once; nothing waits for a lease",
    loads=lambda n: [
        l.load(l.enqueue_jobs, count=int(n["long"]), seconds=n["seconds"]),
        l.load(l.enqueue_jobs, count=int(n["brief"]), seconds=0.2),
    ],
    schedule=lambda n, apart: f.each(apart, *[f.stop_worker] * int(n["workers"]), *[f.stop_celery] * int(n["pools"])),
    invariants=[*JOBS, i.nothing_waits_for_a_lease],
    long={"long": 6, "seconds": 8, "brief": 100, "workers": 3, "pools": 3},
    short={"long": 4, "seconds": 5, "brief": 10, "workers": 1, "pools": 0},
    apart=(1.0, 2.0),
)

F8 = Row(
    "F8",
    fault="none: twenty callers of each key at the same instant",
    load="CreateTask from twenty connections",
    must="one effect a key; equal answers",
    loads=lambda n: [l.load(l.share_keys, keys=int(n["keys"]), callers=20)],
    schedule=lambda _, __: [],
    invariants=[*WRITES, i.no_call_fails, i.answers_are_equal],
    long={"keys": 1000},
    short={"keys": 60},
)

F9 = Row(
    "F9",
    fault="SIGSTOP of a pool child beyond its lease; SIGCONT while another attempt holds the job",
    load="jobs that hold before, inside and after transaction()",
    must="its commit is refused; one effect; the other blocked for a lease at most",
    loads=lambda n: [l.load(l.hold_jobs, seconds=n["seconds"])],
    schedule=lambda _, __: [(f.stall_holders, NEVER)],
    invariants=[*JOBS, i.stalled_commit_is_refused],
    long={"seconds": 3},
    short={"seconds": 1},
)

F10 = Row(
    "F10",
    fault="a job that kills its worker every time",
    load="good jobs around it",
    must="FAILED after max_attempts; of the good ones none FAILED, none charged",
    loads=lambda n: [l.load(l.enqueue_with_a_killer, good=int(n["good"]), seconds=0.002)],
    schedule=lambda _, __: [],
    invariants=[*JOBS, i.the_killer_fails_alone],
    long={"good": 100},
    short={"good": 100},
)

F12 = Row(
    "F12",
    fault="the client hangs up at random; API servers are killed",
    load="a WatchTasks client; changes from many writers, some in transactions held open",
    must="every event once, in order, none skipped",
    loads=lambda n: [l.load(l.watch_changes, changes=int(n["changes"]), reconnects=int(n["reconnects"]))],
    schedule=lambda n, apart: f.each(apart, *[f.kill_api_server] * int(n["kills"])),
    invariants=[i.every_event_is_seen_once_in_order],
    long={"changes": 10_000, "reconnects": 100, "kills": 5},
    short={"changes": 600, "reconnects": 10, "kills": 1},
    apart=(1.0, 3.0),
)


def mix(*choices: Fault) -> Row:
    """Returns the row whose faults are these, in an order that the seed decides, for as long as its length says."""
    return Row(
        "MIX",
        fault="everything: SIGKILL of any process, of all workers at once, SIGSTOP beyond the lease, FLUSHALL, "
        "PostgreSQL and Redis crashed or frozen, sessions ended, statements cancelled, jobs locked, Redis full",
        load="CreateTask and CompleteTask with keys and retries; jobs with a row, in steps, and pure ones",
        must="lost 0, twice 0; no call fails for good; every event has its place",
        loads=lambda n: [
            l.load(l.write_tasks, clients=4),
            l.load(l.trickle_jobs, rate=20, seconds=0.02),
            l.load(l.trickle_others, rate=n["others"]),
        ],
        schedule=lambda n, apart: f.mixed_for(n["length"], apart, *choices),
        invariants=[*JOBS, *WRITES, i.no_call_fails, i.every_event_has_its_place],
        long={"length": 120, "others": 50},
        short={"length": 10, "others": 50},
    )


MIX = mix(*f.ANY.values())
ROWS = {row.id: row for row in (F1, F2, F3, F4, F5, F6, F7, F8, F9, F10, F12, MIX)}
