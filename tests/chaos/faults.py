"""What is done to the stack: signals to whole processes, by pid. A fault is a function of the scene."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import psutil
import psycopg

from tests.chaos.kinds import PLACES
from tests.chaos.scene import Apart, Scene
from tests.support.servers import eventually

Fault = Callable[[Scene], None]

#: Seconds that a process may take to come back before the harness gives up.
PATIENCE = 60.0


def kill_pool_child(scene: Scene) -> None:
    """SIGKILL to a process that runs jobs."""
    scene.strike(scene.stack.pool, signal.SIGKILL, "pool child")


def kill_celery(scene: Scene) -> None:
    """SIGKILL to the parent of a pool."""
    scene.strike(scene.stack.celery, signal.SIGKILL, "celery parent")


def kill_worker(scene: Scene) -> None:
    """SIGKILL to a whole worker: its supervisor, with which its processes die."""
    scene.strike(scene.stack.workers, signal.SIGKILL, "worker")


def kill_whole_worker(scene: Scene) -> None:
    """SIGKILL to a worker and all that it has started, in the same moment."""
    living = eventually(lambda: sorted(scene.stack.workers(), key=lambda each: each.pid), PATIENCE)
    assert living
    victim = scene.rng.choice(living)
    scene.strike_all(lambda: [victim, *victim.children(recursive=True)], signal.SIGKILL, "worker, with its processes")


def kill_workers(scene: Scene) -> None:
    """SIGKILL to all workers in the same moment."""
    scene.strike_all(scene.stack.workers, signal.SIGKILL, "worker")


def kill_loops(scene: Scene) -> None:
    """SIGKILL to the loops."""
    scene.strike(scene.stack.loops, signal.SIGKILL, "loops")


def kill_api_server(scene: Scene) -> None:
    """SIGKILL to a server process."""
    scene.strike(scene.stack.api_servers, signal.SIGKILL, "API server")


def kill_api_parent(scene: Scene) -> None:
    """SIGKILL to the parent of the server processes."""
    scene.strike(scene.stack.api, signal.SIGKILL, "API parent")


def kill_redis(scene: Scene) -> None:
    """SIGKILL to Redis, which comes back empty."""
    scene.strike(scene.stack.redis, signal.SIGKILL, "redis")


def flush_redis(scene: Scene) -> None:
    """FLUSHALL."""
    eventually(scene.stack.redis_answers, PATIENCE)
    scene.stack.flush_redis()
    scene.note("FLUSHALL", None)


def crash_postgres(scene: Scene) -> None:
    """SIGQUIT to the postmaster, which is its immediate shutdown; returns once it is back."""
    killed = scene.strike(scene.stack.postgres, signal.SIGQUIT, "postgres")
    gone = time.time()
    eventually(lambda: killed not in [each.pid for each in scene.stack.postgres()], PATIENCE)
    eventually(scene.stack.database_answers, PATIENCE)
    scene.mark("postgres", gone, time.time())


def end_sessions(scene: Scene) -> None:
    """Ends every third session of PostgreSQL, whatever it is in the middle of, as an operator or a proxy does."""
    _tell_sessions(scene, "pg_terminate_backend", "taskhub%")


def cancel_statements(scene: Scene) -> None:
    """Cancels what every third session of the workers is in the middle of."""
    _tell_sessions(scene, "pg_cancel_backend", "taskhub%r")


def _tell_sessions(scene: Scene, what: str, names: str) -> None:
    statement = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE %s AND pid <> pg_backend_pid() ORDER BY 1"
    with _database(scene) as connection:
        pids = [row[0] for row in connection.execute(statement, [names]).fetchall()]
        for pid in scene.rng.sample(pids, len(pids) // 3):
            connection.execute(f"SELECT {what}(%s)", [pid])
    scene.note(f"{what} of {len(pids) // 3} sessions", None)


def lock_jobs(scene: Scene) -> None:
    """Locks the table of jobs for a while, as a migration does: well below the lock timeout of calls."""
    with _database(scene) as connection, connection.transaction():
        connection.execute("LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE")
        scene.note("LOCK TABLE jobs", None)
        # In PostgreSQL, so that it does not last longer where we are held up.
        connection.execute("SELECT pg_sleep(%s)", [scene.rng.uniform(0.5, 2)])


def fill_redis(scene: Scene) -> None:
    """Lets Redis refuse to write for some seconds: it is full, and must not forget (`noeviction`)."""
    eventually(scene.stack.redis_answers, PATIENCE)
    scene.stack.limit_redis(1)
    scene.note("redis is full", None)
    scene.pause(scene.rng.uniform(2, 8))
    eventually(scene.stack.redis_answers, PATIENCE)
    scene.stack.limit_redis(0)


def _database(scene: Scene) -> psycopg.Connection[Any]:
    eventually(scene.stack.database_answers, PATIENCE)
    return psycopg.connect(scene.stack.database, autocommit=True)


def remove_redis(scene: Scene, seconds: float) -> None:
    """Takes Redis away: SIGSTOP to the devstack, which would bring it up again, then SIGKILL to Redis."""
    devstack = scene.stack.supervisor()
    devstack.suspend()
    try:
        scene.strike(scene.stack.redis, signal.SIGKILL, "redis")
        began = time.time()
        scene.pause(seconds)
        ended = time.time()
    finally:
        devstack.resume()
    _back(scene, "absent", began, ended)


def freeze_redis(scene: Scene, seconds: float) -> None:
    """SIGSTOP to Redis: it accepts connections and never answers."""
    pid = scene.strike(scene.stack.redis, signal.SIGSTOP, "redis")
    try:
        began = time.time()
        scene.pause(seconds)
        ended = time.time()
    finally:
        psutil.Process(pid).resume()
    _back(scene, "frozen", began, ended)


def _back(scene: Scene, name: str, began: float, ended: float) -> None:
    eventually(scene.stack.redis_answers, PATIENCE)
    scene.mark(name, began, ended)
    scene.mark(f"{name}: back", ended, time.time())


def stop_api_server(scene: Scene) -> None:
    """SIGTERM to a server process."""
    _ask_to_stop(scene, scene.stack.api_servers, "API server")


def stop_api(scene: Scene) -> None:
    """SIGTERM to the parent of the server processes: all of them drain."""
    _ask_to_stop(scene, scene.stack.api, "API parent")


def stop_worker(scene: Scene) -> None:
    """SIGTERM to a whole worker."""
    _ask_to_stop(scene, scene.stack.workers, "worker")


def stop_celery(scene: Scene) -> None:
    """SIGTERM to the parent of a pool."""
    _ask_to_stop(scene, scene.stack.celery, "celery parent")


def _ask_to_stop(scene: Scene, role: Callable[[], list[psutil.Process]], name: str) -> None:
    before = len(role())
    pid = scene.strike(role, signal.SIGTERM, name)
    began = time.time()
    eventually(lambda: pid not in [each.pid for each in role()], PATIENCE)
    scene.mark(f"gone: {name}", began, time.time())
    eventually(lambda: len(role()) >= before, PATIENCE)


def freeze_pool_child(scene: Scene) -> None:
    """SIGSTOP to a process that runs jobs, for longer than its leases last."""
    scene.freeze(scene.stack.pool, scene.lease * scene.rng.uniform(1.1, 1.5), "pool child")


def freeze_celery(scene: Scene) -> None:
    """SIGSTOP to the parent of a pool, for longer than a lease."""
    scene.freeze(scene.stack.celery, scene.lease * scene.rng.uniform(1.1, 1.5), "celery parent")


def freeze_loops(scene: Scene) -> None:
    """SIGSTOP to the loops of one worker, for longer than a lease."""
    scene.freeze(scene.stack.loops, scene.lease * scene.rng.uniform(1.1, 1.5), "loops")


def freeze_api_server(scene: Scene) -> None:
    """SIGSTOP to a server process, for less than its callers' patience."""
    scene.freeze(scene.stack.api_servers, scene.rng.uniform(1, 5), "API server")


def stall_redis(scene: Scene) -> None:
    """SIGSTOP to Redis for some seconds, while the faults go on."""
    scene.freeze(scene.stack.redis, scene.rng.uniform(2, 8), "redis")


def stall_holders(scene: Scene) -> None:
    """SIGSTOP to the process that runs a job of the kind chaos.hold, until another attempt holds the job."""
    with psycopg.connect(scene.stack.database, autocommit=True) as connection:
        for where in PLACES:
            _stall_holder(scene, connection, where)


def _stall_holder(scene: Scene, connection: psycopg.Connection[tuple[object, ...]], where: str) -> None:
    held = eventually(lambda: _holder(connection, where), PATIENCE)
    assert held is not None
    job, token, pid = held
    psutil.Process(pid).suspend()
    scene.note(f"SIGSTOP pool child, {where} its transaction", pid)
    try:
        eventually(lambda: _taken_over(connection, job, token), PATIENCE)
    finally:
        psutil.Process(pid).resume()
        scene.note("SIGCONT pool child, while another attempt holds its job", pid)


def _holder(connection: psycopg.Connection[tuple[object, ...]], where: str) -> tuple[str, int, int] | None:
    """Returns the job, its claim and the process that is in the middle of it."""
    row = connection.execute(
        """
        SELECT id::text, claim_token, worker FROM jobs
        WHERE kind = 'chaos.hold' AND jobs.state = 'RUNNING' AND args->>'where' = %(where)s
            AND (%(where)s = 'before' OR EXISTS (
                SELECT FROM pg_stat_activity WHERE state = 'idle in transaction' AND query LIKE '%%probe_ledger%%'
            ) OR EXISTS (SELECT FROM probe_ledger WHERE job_id = jobs.id)) -- an effect that is there too early
        """,
        {"where": where},
    ).fetchone()
    if row is None:
        return None
    pid = re.search(r"(\d+)$", str(row[2]))
    assert pid is not None
    return str(row[0]), int(str(row[1])), int(pid[1])


def _taken_over(connection: psycopg.Connection[tuple[object, ...]], job: str, token: int) -> bool:
    row = connection.execute("SELECT claim_token > %s FROM jobs WHERE id = %s", [token, job]).fetchone()
    return row == (True,)


def mixed(times: int, apart: Apart, *choices: Fault) -> Sequence[tuple[Fault, Apart]]:
    """Returns a schedule: one of the faults each time, in an order that the seed decides."""
    return [(lambda scene: scene.rng.choice(choices)(scene), apart)] * times


def mixed_for(length: float, apart: Apart, *choices: Fault) -> Iterator[tuple[Fault, Apart]]:
    """Yields such a schedule for `length` seconds: the machine's speed decides how far it gets, and nothing else."""
    end = time.monotonic() + length
    while time.monotonic() < end:
        yield from mixed(1, apart, *choices)


def each(apart: Apart, *faults: Fault, shuffled: bool = True) -> Sequence[tuple[Fault, Apart]]:
    """Returns a schedule: all of the faults, once each, in an order that the seed decides."""
    if not shuffled:
        return [(fault, apart) for fault in faults]
    left = list(faults)

    def next_one(scene: Scene) -> None:
        left.pop(scene.rng.randrange(len(left)))(scene)

    return [(next_one, apart) for _ in faults]


#: What may happen in the row MIX, by name.
ANY: dict[str, Fault] = {
    fault.__name__: fault
    for fault in (
        kill_pool_child,
        kill_celery,
        kill_worker,
        kill_whole_worker,
        kill_workers,
        kill_loops,
        kill_api_server,
        kill_api_parent,
        kill_redis,
        flush_redis,
        crash_postgres,
        freeze_pool_child,
        freeze_celery,
        freeze_loops,
        freeze_api_server,
        stall_redis,
        end_sessions,
        cancel_statements,
        lock_jobs,
        fill_redis,
    )
}
