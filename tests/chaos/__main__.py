"""`make chaos`: every row of the table "Failure", or some; exit code 1 if anything was lost or happened twice.

make chaos                      all rows but the comparison, with a seed of its own, which is printed
make chaos ONLY=F1,F4 SEED=7    these two, with the same random choices as every run with that seed
make chaos APART=0.1,0.5        other pauses between faults, in seconds
make chaos ONLY=P1,P2,P3        the comparison with plain Celery, some six minutes each
make chaos ONLY=MIX LENGTH=300  faults of every kind, for five minutes
make chaos ONLY=MIX FAULTS=kill_loops,flush_redis   of these kinds alone
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any, NoReturn

from tests.chaos.faults import ANY, Fault
from tests.chaos.harness import Order, Result, run
from tests.chaos.peers import COMPARISONS, compare
from tests.chaos.report import Screen, line, write
from tests.chaos.rows import ROWS, mix
from tests.chaos.scene import Apart
from tests.chaos.stack import Stack
from tests.support.servers import ROOT

EVERY = {**ROWS, **COMPARISONS}
RESULTS = ROOT / "bench/results/chaos.json"


def main() -> int:
    """Returns 0 only if every row held."""
    signal.signal(signal.SIGTERM, _leave)
    arguments = _arguments()
    screen, results = Screen(), []
    screen.console.print(
        f"[bold]seed {arguments.seed}[/bold]  (make chaos SEED={arguments.seed} makes the same choices)"
    )
    settings: dict[str, Any] = {}
    try:
        for id_ in arguments.only:
            row = mix(*arguments.faults) if arguments.faults and id_ == "MIX" else EVERY[id_]
            order = Order(row, arguments.seed, arguments.short, arguments.apart, arguments.length)
            result, settings = _run_alone(order, screen, keep=arguments.keep)
            results.append(result)
            write(arguments.results, [line(result)], settings, list(EVERY))
    finally:
        screen.close()
    screen.table(results, settings)
    print(f"written to {arguments.results}")
    return 1 if any(result.violations for result in results) else 0


def _run_alone(order: Order, screen: Screen, *, keep: Path | None) -> tuple[Result, dict[str, Any]]:
    """Runs a row on a fresh stack of its own; a comparison makes its own."""
    screen.heading(f"{order.row.id}  {order.row.fault}")
    with tempfile.TemporaryDirectory(prefix="taskhub-chaos-") as name:
        folder = Path(name)
        try:
            if order.row.id in COMPARISONS:
                result, settings = compare(order, folder, screen.say)
            else:
                with Stack(folder, screen.say) as stack:
                    result = run(order, stack, folder, screen.say)
                    settings = stack.settings
        finally:
            if keep is not None:
                _keep(folder, keep / order.row.id)
    screen.verdict(result)
    return result, settings


def _keep(folder: Path, kept: Path) -> None:
    """Saves ledgers and logs for whoever wants to know more."""
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(folder, kept, ignore=shutil.ignore_patterns("postgres", "mail"))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", type=_rows, default=list(ROWS), metavar="F1,F2", help="which rows")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="of all random choices")  # noqa: S311
    parser.add_argument("--apart", type=_apart, metavar="LEAST,MOST", help="seconds between two faults")
    parser.add_argument("--length", type=float, metavar="SECONDS", help="how long the faults of MIX go on")
    parser.add_argument("--faults", type=_faults, metavar="NAME,NAME", help=f"those of MIX: {', '.join(ANY)}")
    parser.add_argument("--short", action="store_true", help="the short forms, as in make test")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="save ledgers and logs there")
    parser.add_argument("--results", type=Path, default=RESULTS)
    return parser.parse_args()


def _rows(text: str) -> list[str]:
    found = [each.strip().upper() for each in text.replace(",", " ").split()]
    if unknown := set(found) - EVERY.keys():
        raise argparse.ArgumentTypeError(f"no such row: {', '.join(sorted(unknown))}; there are {', '.join(EVERY)}")
    return found


def _faults(text: str) -> list[Fault]:
    names = text.replace(",", " ").split()
    if unknown := set(names) - ANY.keys():
        raise argparse.ArgumentTypeError(f"no such fault: {', '.join(sorted(unknown))}; there are {', '.join(ANY)}")
    return [ANY[name] for name in names]


def _apart(text: str) -> Apart:
    least, most = (float(part) for part in text.split(","))
    if not 0 <= least <= most:
        raise argparse.ArgumentTypeError(f"{text} is not LEAST,MOST")
    return least, most


def _leave(number: int, _: object) -> NoReturn:
    # So that every `with` on the way out takes away what it started.
    sys.exit(128 + number)


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main())
