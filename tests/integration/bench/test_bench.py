"""The parts of the bench work. Nothing here asserts a time."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psycopg
import pytest
from taskhub.v1 import task_pb2, task_service_pb2

from bench import __main__ as program
from bench.figures import Figure, Goal, Spread
from bench.harness import ROOT, Bench, alternate, cpu_seconds, encoded, running
from bench.limits import table
from bench.limits.serving import PATH
from bench.load import Load, run
from bench.report import Report
from bench.rows.table import ROWS
from shared.ids import new_id
from tests.support.api import Account, Api
from tests.support.servers import Processes

CREATE = "/taskhub.v1.TaskService/CreateTask"
REQUEST = task_service_pb2.CreateTaskRequest(task=task_pb2.Task(title="Measure")).SerializeToString()


@pytest.fixture
def api(processes: Processes, database_url: str) -> Iterator[Api]:
    found = Api(processes, database_url, TASKHUB_API_PROCESSES="1")
    yield found
    found.close()


@pytest.fixture
def alice(api: Api) -> Account:
    return api.account()


def load(api: Api, account: Account | None, **changes: object) -> Load:
    headers = dict(account.metadata) if account else {}
    base = {"connections": 2, "streams": 3, "calls": 40, "seconds": 20.0, "headers": headers}
    return Load(f"127.0.0.1:{api.port}", CREATE, encoded([REQUEST]), **(base | changes))  # type: ignore[arg-type]


def test_each_call_has_a_key_of_its_own(api: Api, alice: Account) -> None:
    outcome = run(load(api, alice, fresh_keys=True))
    assert outcome.statuses == {"0": 40}
    assert api.execute("SELECT count(*) FROM tasks") == [(40,)]
    assert api.execute("SELECT count(*) FROM idempotency_records") == [(40,)]


def test_a_refused_call_counts_as_refused_whatever_its_http_status(api: Api) -> None:
    outcome = run(load(api, None))
    assert outcome.statuses == {"16": 40}
    assert (outcome.ok, outcome.refused) == (0, 40)


@pytest.mark.parametrize("loop", [[], ["uvloop"]])
@pytest.mark.parametrize("limit", ["select", "insert"])
def test_the_limits_answer_in_either_event_loop(database_url: str, limit: str, loop: list[str]) -> None:
    id_ = str(new_id())
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(table.CREATE)
        connection.execute(table.INSERT, (id_, "a body"))
        command = [sys.executable, "-m", f"bench.limits.{limit}_server", *loop]
        with running(command, {"TASKHUB_DATABASE_URL": database_url, "PYTHONPATH": str(ROOT)}) as server:
            assert server.stdout is not None
            address = f"127.0.0.1:{server.stdout.readline().strip()}"
            outcome = run(Load(address, PATH, encoded([id_.encode()]), calls=20, seconds=90))
            assert cpu_seconds(server.pid) > 0
        rows = connection.execute("SELECT count(*) FROM bench_limit").fetchone()
    assert outcome.statuses == {"0": 20}
    assert rows == (21 if limit == "insert" else 1,)


def test_rounds_alternate() -> None:
    order: list[str] = []

    def side(name: str, value: int) -> int:
        order.append(name)
        return value

    found = alternate(2, partial(side, "ours", 1), partial(side, "bare", 2))
    assert order == ["ours", "bare", "bare", "ours"]
    assert found == [(1, 2), (1, 2)]


def figure(value: float, goal: Goal) -> Figure:
    return Figure("S0", "something", Spread.of([value]), goal)


@pytest.mark.parametrize(
    ("value", "at_most", "met"), [(0.8, False, True), (0.79, False, False), (0.8, True, True), (0.81, True, False)]
)
def test_a_goal_is_met_at_its_bound(value: float, met: bool, at_most: bool) -> None:  # noqa: FBT001  parameters of the test
    assert figure(value, Goal(0.8, at_most=at_most)).met is met


def test_the_report_names_figure_goal_and_verdict_of_each_row(tmp_path: Path) -> None:
    figures = [figure(1.0, Goal(0.8)), figure(2.0, Goal(1.3, at_most=True))]
    report = Report(figures, {"processor": "one"}, {})
    report.write(tmp_path, "latest")
    written = json.loads((tmp_path / "latest.json").read_text())["figures"]
    assert [(each["row"], each["figure"], each["verdict"]) for each in written] == [
        ("S0", 1.0, "met"), ("S0", 2.0, "MISSED"),
    ]  # fmt: skip
    assert "MISSED" in (tmp_path / "latest.md").read_text()
    assert (tmp_path / "latest.svg").read_text().startswith("<svg")


def measured(value: float, _: Bench) -> list[Figure]:
    return [figure(value, Goal(0.8))]


def test_a_missed_goal_gives_exit_code_1(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(program, "RESULTS", tmp_path)
    monkeypatch.setattr(program, "ROOT", tmp_path)
    monkeypatch.setattr(program, "settings", lambda _: {})
    for value, code in ((1.0, 0), (0.5, 1)):
        monkeypatch.setitem(ROWS, "S1", partial(measured, value))
        monkeypatch.setattr(sys, "argv", ["bench", "--only", "S1"])
        assert program.main() == code


def test_an_unknown_row_is_refused() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--only", "S99"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "S1" in done.stderr
