"""`make bench`: measures, prints and writes the table; exits with 1 where a goal was missed.

`make bench ONLY=S1` measures one row (or several: `S1,S5`) and leaves the result of the last whole run alone.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from contextlib import ExitStack

from rich.console import Console

from bench.figures import Figure
from bench.harness import ROOT, Bench, Effort
from bench.machine import load_average, machine, settings
from bench.report import Report
from bench.rows.table import ROWS

RESULTS = ROOT / "bench" / "results"


def main() -> int:
    """Returns 0 if every goal was met, else 1."""
    console = Console(soft_wrap=True)
    only, effort = _arguments()
    with ExitStack() as stack:
        report = measured(Bench(effort, lambda text: console.print(text, markup=False, highlight=False), stack), only)
    report.show(console)
    name = "latest" if list(only) == list(ROWS) else "-".join(only)
    report.write(RESULTS, name)
    console.print(f"written to {(RESULTS / name).relative_to(ROOT)}.json, .md and .svg", highlight=False)
    return 0 if report.met else 1


def measured(bench: Bench, rows: Iterable[str]) -> Report:
    """Measures the rows, one after the other."""
    facts = machine()
    figures: list[Figure] = []
    for row in rows:
        bench.settle()
        bench.say(f"{row} (load average {load_average()})")
        figures += ROWS[row](bench)
    return Report(figures, facts | {"load average at the end": load_average()}, settings(bench))


def _arguments() -> tuple[list[str], Effort]:
    usual = Effort()
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument("--only", default=",".join(ROWS), help="rows, by commas")
    parser.add_argument("--rounds", type=int, default=usual.rounds)
    parser.add_argument("--seconds", type=float, default=usual.seconds)
    parser.add_argument("--jobs", type=int, default=usual.jobs)
    given = parser.parse_args()
    only = given.only.split(",")
    if unknown := [row for row in only if row not in ROWS]:
        parser.error(f"no such row: {', '.join(unknown)}; there are {', '.join(ROWS)}")
    return only, Effort(rounds=given.rounds, seconds=given.seconds, jobs=given.jobs)


if __name__ == "__main__":
    sys.exit(main())
