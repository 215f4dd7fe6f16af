"""The rows of `goals.md` that are measured, each a function from the bench to its figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from bench.figures import Figure, Goal, Spread
from bench.harness import Bench
from bench.rows import calls, depth, jobs, streams
from tests.support.kinds import NOOP, ROW

#: Measured once a run, whichever rows ask for it.
reads = cache(calls.reads)
writes = cache(calls.writes)


def s1(bench: Bench) -> list[Figure]:
    """Throughput of reads."""
    return [_ratio("S1", "GetTask a second / bare SELECT", reads(bench), "rate", Goal(0.80), "{:,.0f}/s")]


def s2(bench: Bench) -> list[Figure]:
    """Throughput of writes."""
    what = "CreateTask (key, event, stored response) a second / bare INSERT"
    return [_ratio("S2", what, writes(bench), "rate", Goal(0.75), "{:,.0f}/s")]


def s3(bench: Bench) -> list[Figure]:
    """Throughput of lists."""
    rounds = calls.lists(bench)
    return [
        _ratio("S3", "ListTasks, 20 rows, a second / bare SELECT of 20 rows", rounds, "rate", Goal(0.70), "{:,.0f}/s")
    ]


def s5(bench: Bench) -> list[Figure]:
    """CPU of the server process: the gate."""
    read, write = Goal(1.30, at_most=True), Goal(1.60, at_most=True)
    return [
        _ratio("S5", "CPU of the API process a GetTask / bare SELECT", reads(bench), "cpu_ms", read, "{:.3f} ms"),
        _ratio("S5", "CPU of the API process a CreateTask / bare INSERT", writes(bench), "cpu_ms", write, "{:.3f} ms"),
    ]


def s6(bench: Bench) -> list[Figure]:
    """How much a deep page costs."""
    rounds = [(deep.outcome, first.outcome) for deep, first in depth.pages(bench)]
    what = "ListTasks, a page at depth 1,000,000 of 2,000,000 / the first page, median time of a call"
    return [_ratio("S6", what, rounds, "p50_ms", Goal(1.20, at_most=True), "{:.3f} ms")]


def s7(bench: Bench) -> list[Figure]:
    """Jobs that do nothing."""
    rounds = jobs.drains(bench, NOOP, "noop")
    return [_ratio("S7", "no-op jobs of a pure kind a second / plain Celery", rounds, "rate", Goal(5.0), "{:,.0f}/s")]


def s7b(bench: Bench) -> list[Figure]:
    """Jobs that write."""
    rounds = jobs.drains(bench, ROW, "row")
    what = "jobs that write a row in transaction() a second / plain Celery"
    return [_ratio("S7b", what, rounds, "rate", Goal(2.5), "{:,.0f}/s")]


def s8(bench: Bench) -> list[Figure]:
    """How soon a job starts when nothing else runs."""
    rounds = jobs.starts(bench)
    what = "start latency when idle, commit to the handler's first line, p{}"
    return [
        Figure("S8", what.format(50), _percentile(rounds, 50), Goal(8, at_most=True, unit="ms")),
        Figure("S8", what.format(99), _percentile(rounds, 99), Goal(30, at_most=True, unit="ms")),
    ]


def s12(bench: Bench) -> list[Figure]:
    """How soon many streams hear of a change, and what they take."""
    rounds = streams.watching(bench)
    what = "1,000 WatchTasks streams on 10 connections, 3 events a second: commit to client, p99"
    late, bare = (_percentile([round_[side].late_ms for round_ in rounds], 99) for side in (0, 1))
    # The first round: later ones find what earlier ones gave back.
    kib, bare_kib = (rounds[0][side].stream_kib for side in (0, 1))
    return [
        Figure("S12", what, late, Goal(250, at_most=True, unit="ms"), {"beside": f"{bare.median:.1f} ms"}),
        Figure(
            "S12",
            "memory of the API process a WatchTasks stream",
            Spread.of([kib]),
            Goal(40, at_most=True, unit="KiB"),
            {"beside": f"{bare_kib:.1f} KiB"},
        ),
    ]


ROWS: dict[str, Callable[[Bench], list[Figure]]] = {
    "S1": s1,
    "S2": s2,
    "S3": s3,
    "S5": s5,
    "S7": s7,
    "S7b": s7b,
    "S8": s8,
    "S12": s12,
    "S6": s6,  # leaves two million tasks behind
}


def _ratio(row: str, what: str, rounds: Sequence[tuple[Any, ...]], field: str, goal: Goal, shown: str) -> Figure:
    """Compares round by round, so that what slows the machine down for a while slows all sides down.

    The second side is the one that the goal names. What is beside it as well is shown and decides nothing.
    """
    ours, *others = ([getattr(side, field) for side in sides] for sides in zip(*rounds, strict=True))
    ratios = [Spread.of([mine / its for mine, its in zip(ours, other, strict=True)]) for other in others]
    named, *more = (shown.format(Spread.of(other).median) for other in others)
    beside = [named, *(f"in uvloop {its} ({ratio.median:.2f})" for its, ratio in zip(more, ratios[1:], strict=True))]
    detail = {"ours": shown.format(Spread.of(ours).median), "beside": ", ".join(beside)}
    return Figure(row, what, ratios[0], goal, detail)


def _percentile(rounds: Sequence[Sequence[float]], percent: int) -> Spread:
    return Spread.of([sorted(times)[len(times) * percent // 100] for times in rounds])
