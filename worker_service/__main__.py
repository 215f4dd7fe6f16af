"""`python -m worker_service` starts the worker and its loops; `loops` and `health` are what it is made of."""

from __future__ import annotations

import argparse
import sys


def main() -> None:
    """Runs one command of the command line. Each imports only what it needs."""
    parser = argparse.ArgumentParser(prog="python -m worker_service", description=__doc__)
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("loops", help="run the dispatcher, the reaper and the sequencer in this process")
    commands.add_parser("health", help="exit with 0 if the worker on this machine is alive, else with 1")
    match parser.parse_args().command:
        case "loops":
            from worker_service.loops import main as turn_loops  # noqa: PLC0415

            turn_loops()
        case "health":
            from worker_service.health import main as check  # noqa: PLC0415

            sys.exit(check())
        case _:
            from worker_service.supervisor import main as supervise  # noqa: PLC0415

            supervise()


if __name__ == "__main__":
    main()
