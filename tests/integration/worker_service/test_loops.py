"""The cranks, turned by hand."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta

import psycopg
import pytest

from tests.integration.worker_service.conftest import PROBE
from tests.support.jobs import Jobs
from tests.support.servers import PATIENCE, Redis, eventually
from worker_service import dispatcher, queries
from worker_service import reaper as reapers
from worker_service.database import Database
from worker_service.dispatcher import Dispatcher
from worker_service.errors import AttemptLost
from worker_service.gauges import Gauges
from worker_service.jobs import Job
from worker_service.loops import connect
from worker_service.reaper import Reaper
from worker_service.registry import Registry
from worker_service.sequencer import LOCK, LONG_PAUSE, MANY, PAUSE, Sequencer
from worker_service.settings import WorkerSettings
from worker_service.transport import make_app


def _claim(database: Database, lease: float) -> None:
    assert queries.claim(database.connection, PROBE.queue, [PROBE.name], lease, "host:1")


def _emit(connection: psycopg.Connection[object], n: int = 1) -> None:
    connection.execute(
        "INSERT INTO events (kind, resource, actor) SELECT 'probe.noted', 'probe', 'test' FROM generate_series(1, %s)",
        [n],
    )


def _positions(jobs: Jobs) -> list[int | None]:
    rows = jobs.connection.execute("SELECT position FROM events ORDER BY id").fetchall()
    return [row["position"] for row in rows]


class TestReaper:
    def test_a_lease_that_ended_returns_the_job(self, jobs: Jobs, database: Database) -> None:
        id_ = jobs.enqueue(PROBE)
        _claim(database, -1)
        jobs.connection.execute("LISTEN taskhub_jobs")
        assert Reaper(database, 0, silence=0).run_once() == 1
        job = jobs.job(id_)
        assert (job["state"], job["attempt"], job["error"]["reason"]) == ("WAITING", 1, "ATTEMPT_LOST")
        assert jobs.attempts(id_) == ["LOST"]
        assert len(list(jobs.connection.notifies(timeout=PATIENCE, stop_after=1))) == 1

    def test_the_last_attempt_lost_is_the_end(self, jobs: Jobs, database: Database) -> None:
        id_ = jobs.enqueue(PROBE, max_attempts=1)
        _claim(database, -1)
        assert Reaper(database, 0, silence=0).run_once() == 1
        assert (jobs.state(id_), jobs.attempts(id_)) == ("FAILED", ["LOST"])
        assert jobs.job(id_)["end_time"] is not None

    def test_a_lease_that_holds_is_left_alone(self, jobs: Jobs, database: Database) -> None:
        id_ = jobs.enqueue(PROBE)
        _claim(database, 60)
        assert Reaper(database, 0, silence=0).run_once() == 0
        assert jobs.state(id_) == "RUNNING"

    def test_after_a_restart_of_postgres_workers_get_a_lease_s_time(self, jobs: Jobs, database: Database) -> None:
        id_ = jobs.enqueue(PROBE)
        _claim(database, -1)
        assert Reaper(database, 3600, silence=0).run_once() == 0
        assert jobs.state(id_) == "RUNNING"


def _claim_all(database: Database, lease: float = 60) -> list[queries.Claimed]:
    kinds = [PROBE.name]
    return queries.claim(database.connection, PROBE.queue, kinds, lease, "host:1", session=database.session, limit=8)


def _silence(jobs: Jobs, seconds: float = 0.2) -> None:
    # No longer than PostgreSQL is up: what was heard of before that is another matter.
    jobs.connection.execute("UPDATE jobs SET heartbeat_time = now() - make_interval(secs => %s)", [seconds])


class TestLosses:
    """A second connection stands for the worker, and dies in its place."""

    @pytest.fixture
    def worker(self, database_url: str) -> Iterator[Database]:
        worker = Database(database_url, "worker", pooled=False)
        yield worker
        worker.close()

    @pytest.fixture
    def reaper(self, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reaper]:
        """Has turned for a while: longer than the silence that it waits for."""
        monkeypatch.setattr(reapers, "STALL", timedelta(hours=1))  # a machine may be slow
        database = Database(database_url, "reaper", pooled=False)
        reaper = Reaper(database, 0, silence=0.1)
        reaper.run_once()
        begun = queries.clock(database.connection)
        eventually(lambda: queries.clock(database.connection) - begun > timedelta(seconds=0.1))
        yield reaper
        database.close()

    def _gone(self, worker: Database, jobs: Jobs) -> None:
        pid = worker.connection.info.backend_pid
        worker.close()
        count = "SELECT count(*) AS n FROM pg_stat_activity WHERE pid = %s"
        eventually(lambda: (jobs.connection.execute(count, [pid]).fetchone() or {})["n"] == 0)

    def test_a_session_that_is_gone_ends_its_leases_early(self, jobs: Jobs, worker: Database, reaper: Reaper) -> None:
        id_ = jobs.enqueue(PROBE)
        _claim_all(worker)
        self._gone(worker, jobs)
        eventually(lambda: reaper.run_once() == 1)
        assert (jobs.state(id_), jobs.attempts(id_)) == ("WAITING", ["LOST"])

    def test_a_session_that_lives_keeps_its_leases(self, jobs: Jobs, worker: Database, reaper: Reaper) -> None:
        id_ = jobs.enqueue(PROBE)
        _claim_all(worker)
        _silence(jobs)
        assert reaper.run_once() == 0
        assert jobs.state(id_) == "RUNNING"

    def test_a_worker_that_beats_without_its_session_keeps_them(
        self, jobs: Jobs, worker: Database, reaper: Reaper
    ) -> None:
        id_ = jobs.enqueue(PROBE)
        _claim_all(worker)
        self._gone(worker, jobs)
        _silence(jobs, -3600)  # it will have beaten just before, whenever the reaper looks
        assert reaper.run_once() == 0
        assert jobs.state(id_) == "RUNNING"

    def test_a_pid_that_was_given_out_again_is_another_session(
        self, jobs: Jobs, worker: Database, reaper: Reaper
    ) -> None:
        jobs.enqueue(PROBE)
        _claim_all(worker)
        jobs.connection.execute("UPDATE jobs SET session_start_time = session_start_time - interval '1 second'")
        _silence(jobs)
        assert reaper.run_once() == 1

    def test_after_a_restart_of_postgres_no_session_is_missed(
        self, jobs: Jobs, worker: Database, reaper: Reaper
    ) -> None:
        jobs.enqueue(PROBE)
        _claim_all(worker)
        self._gone(worker, jobs)
        jobs.connection.execute("UPDATE jobs SET heartbeat_time = pg_postmaster_start_time() - interval '1 second'")
        assert reaper.run_once() == 0

    def test_a_reaper_that_has_just_come_waits(self, jobs: Jobs, worker: Database, database: Database) -> None:
        jobs.enqueue(PROBE)
        _claim_all(worker)
        self._gone(worker, jobs)
        up = "extract(epoch FROM now() - pg_postmaster_start_time())::float8"
        row = jobs.connection.execute(
            f"UPDATE jobs SET heartbeat_time = now() - make_interval(secs => 0.9 * {up}) RETURNING {up} AS seconds"
        ).fetchone()
        assert row is not None
        assert not queries.reap(database.connection, 0, 0.8 * row["seconds"], AttemptLost())

    def test_a_reaper_that_was_held_up_lets_workers_report_first(
        self, jobs: Jobs, worker: Database, reaper: Reaper, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """PostgreSQL, or the way to it, stood still for longer than the leases: healthy workers were held up too."""
        jobs.enqueue(PROBE)
        _claim_all(worker, -1)
        monkeypatch.setattr(reapers, "STALL", timedelta(seconds=0))
        assert reaper.run_once() == 0
        monkeypatch.setattr(reapers, "STALL", timedelta(hours=1))
        eventually(lambda: reaper.run_once() == 1)

    def test_a_reaper_outlives_a_clock_that_was_put_back(
        self, jobs: Jobs, worker: Database, reaper: Reaper, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        jobs.enqueue(PROBE)
        _claim_all(worker, -1)
        with monkeypatch.context() as tomorrow:
            now = queries.clock
            tomorrow.setattr(queries, "clock", lambda connection: now(connection) + timedelta(days=1))
            assert reaper.run_once() == 0
        eventually(lambda: reaper.run_once() == 1)

    def test_a_batch_that_was_lost_is_charged_nothing_and_travels_alone(self, jobs: Jobs, database: Database) -> None:
        ids = [jobs.enqueue(PROBE, max_attempts=1) for _ in range(3)]
        assert len(_claim_all(database, -1)) == 3
        assert Reaper(database, 0, silence=0).run_once() == 3
        rows = [jobs.job(id_) for id_ in ids]
        assert [(row["state"], row["attempt"], row["solo"]) for row in rows] == [("WAITING", 0, True)] * 3
        assert [job.id for job in _claim_all(database, -1)] == [ids[0]]
        assert Reaper(database, 0, silence=0).run_once() == 1
        assert [jobs.state(id_) for id_ in ids] == ["FAILED", "WAITING", "WAITING"]

    def test_a_lost_job_whose_cancellation_was_asked_for_is_cancelled(self, jobs: Jobs, database: Database) -> None:
        id_ = jobs.enqueue(PROBE)
        _claim_all(database, -1)
        jobs.connection.execute("UPDATE jobs SET cancel_requested = true")
        assert Reaper(database, 0, silence=0).run_once() == 1
        assert (jobs.state(id_), jobs.attempts(id_)) == ("CANCELLED", ["LOST"])

    def test_two_reapers_end_each_lease_once(self, jobs: Jobs, database: Database, database_url: str) -> None:
        ids = [jobs.enqueue(PROBE) for _ in range(20)]
        while _claim_all(database, -1):
            pass
        reaped: list[int] = []
        others = [Database(database_url, "reaper", pooled=False) for _ in range(2)]
        reapers = [
            threading.Thread(target=lambda o=o: reaped.append(Reaper(o, 0, silence=0).run_once())) for o in others
        ]
        for thread in reapers:
            thread.start()
        for thread in reapers:
            thread.join()
        for other in others:
            other.close()
        assert sum(reaped) == len(ids)
        assert [jobs.attempts(id_) for id_ in ids] == [["LOST"]] * len(ids)


class TestSequencer:
    def test_positions_are_contiguous_and_announced_once(self, jobs: Jobs, database: Database) -> None:
        _emit(jobs.connection, 3)
        jobs.connection.execute("LISTEN taskhub_events")
        assert Sequencer(database).run_once() == 3
        assert _positions(jobs) == [1, 2, 3]
        jobs.connection.execute("NOTIFY taskhub_events, 'all'")
        assert [n.payload for n in jobs.connection.notifies(timeout=PATIENCE, stop_after=2)] == ["3", "all"]
        assert Sequencer(database).run_once() == 0

    def test_where_much_is_written_the_pauses_are_longer_and_only_there(self, jobs: Jobs, database: Database) -> None:
        sequencer = Sequencer(database)
        for count, pause in ((MANY, PAUSE), (MANY + 1, LONG_PAUSE), (0, PAUSE)):
            _emit(jobs.connection, count)
            sequencer.run_once()
            assert sequencer.pause == pause

    def test_an_event_that_commits_late_gets_a_later_position(
        self, jobs: Jobs, database: Database, database_url: str
    ) -> None:
        with psycopg.connect(database_url) as slow:
            _emit(slow)
            _emit(jobs.connection)
            Sequencer(database).run_once()
            slow.commit()
        Sequencer(database).run_once()
        assert _positions(jobs) == [2, 1]

    def test_a_copy_that_froze_with_the_lock_is_cut_off(
        self, jobs: Jobs, settings: WorkerSettings, database_url: str
    ) -> None:
        frozen = connect(settings.model_copy(update={"lease_seconds": 1}), "frozen")
        frozen.connection.execute("BEGIN")
        frozen.connection.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
        _emit(jobs.connection)
        other = Database(database_url, "other", pooled=False, setup="SET lock_timeout = '30s'")
        assert Sequencer(other).run_once() == 1
        frozen.close()
        other.close()

    def test_purged_events_do_not_set_the_counter_back(self, jobs: Jobs, database: Database) -> None:
        _emit(jobs.connection, 2)
        Sequencer(database).run_once()
        jobs.connection.execute("DELETE FROM events")
        _emit(jobs.connection)
        Sequencer(database).run_once()
        assert _positions(jobs) == [3]

    def test_two_sequencers_beside_writers_leave_no_gap(self, jobs: Jobs, database_url: str) -> None:
        total, writers = 600, 4
        stop = threading.Event()
        sequencers = [Sequencer(Database(database_url, "test")) for _ in range(2)]
        threads = [threading.Thread(target=sequencer.run, args=(stop,)) for sequencer in sequencers]

        def write() -> None:
            with psycopg.connect(database_url, autocommit=True) as connection:
                for _ in range(total // writers):
                    _emit(connection)

        threads += [threading.Thread(target=write) for _ in range(writers)]
        for thread in threads:
            thread.start()
        eventually(lambda: len(done := _positions(jobs)) == total and None not in done)
        stop.set()
        for thread in threads:
            thread.join()
        assert sorted(position or 0 for position in _positions(jobs)) == list(range(1, total + 1))


class TestDispatcher:
    @pytest.fixture
    def crank(self, database: Database, redis_url: str) -> Iterator[Dispatcher]:
        app = make_app(redis_url, [PROBE.queue])
        crank = Dispatcher(database, app, Registry([Job(PROBE, lambda _: None)]))
        yield crank
        crank.reset()

    def _depth(self, server: Redis) -> int:
        return int(server.command("LLEN", PROBE.queue).strip().removeprefix(b":"))

    def test_due_jobs_become_as_many_hints(self, crank: Dispatcher, jobs: Jobs, redis_server: Redis) -> None:
        jobs.enqueue(PROBE)
        jobs.enqueue(PROBE)
        crank.run_once()
        assert self._depth(redis_server) == 2

    def test_turning_twice_hints_once(self, crank: Dispatcher, jobs: Jobs, redis_server: Redis) -> None:
        jobs.enqueue(PROBE)
        crank.run_once()
        crank.run_once()
        assert self._depth(redis_server) == 1

    def test_a_backlog_does_not_fill_the_broker(self, crank: Dispatcher, jobs: Jobs, redis_server: Redis) -> None:
        for _ in range(dispatcher.DEPTH + 5):
            jobs.enqueue(PROBE)
        crank.run_once()
        assert self._depth(redis_server) == dispatcher.DEPTH

    def test_two_dispatchers_fill_the_broker_no_further(
        self, crank: Dispatcher, jobs: Jobs, redis_server: Redis, database_url: str, redis_url: str
    ) -> None:
        other = Dispatcher(
            Database(database_url, "test"),
            make_app(redis_url, [PROBE.queue]),
            Registry([Job(PROBE, lambda _: None)]),
        )
        jobs.enqueue(PROBE)
        for _ in range(2):
            crank.run_once()
            other.run_once()
        other.reset()
        assert self._depth(redis_server) == 1

    def test_nothing_due_sends_nothing(self, crank: Dispatcher, jobs: Jobs, redis_server: Redis) -> None:
        id_ = jobs.enqueue(PROBE)
        jobs.connection.execute("UPDATE jobs SET schedule_time = now() + interval '1 hour' WHERE id = %s", [id_])
        crank.run_once()
        assert self._depth(redis_server) == 0

    def test_an_emptied_redis_is_refilled(self, crank: Dispatcher, jobs: Jobs, redis_server: Redis) -> None:
        jobs.enqueue(PROBE)
        crank.run_once()
        redis_server.command("FLUSHALL")
        crank.run_once()
        assert self._depth(redis_server) == 1

    def test_it_wakes_on_the_notify(self, crank: Dispatcher, jobs: Jobs, redis_server: Redis) -> None:
        crank.pause = 3600
        stop = threading.Event()
        thread = threading.Thread(target=crank.run, args=(stop,))
        thread.start()
        listening = "SELECT true FROM pg_stat_activity WHERE query LIKE 'LISTEN%%' OR query LIKE '%%unnest%%'"
        eventually(lambda: jobs.connection.execute(listening).fetchone())
        jobs.enqueue(PROBE)
        jobs.connection.execute("NOTIFY taskhub_jobs")
        eventually(lambda: self._depth(redis_server) == 1)
        stop.set()
        jobs.connection.execute("NOTIFY taskhub_jobs")
        thread.join()


def test_the_backlog_is_counted_by_the_states_that_users_see(jobs: Jobs, database: Database) -> None:
    jobs.enqueue(PROBE)
    jobs.enqueue(PROBE)
    _claim(database, 60)
    counted = {row["shown"]: row["jobs"] for row in queries.backlog(database.connection)}
    assert counted == {"QUEUED": 1, "RUNNING": 1}
    assert Gauges(database, [PROBE.queue]).run_once() == 0
