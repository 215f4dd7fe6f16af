"""Runs the whole stack until Ctrl-C or SIGTERM: `python -m devstack`, which is what `make run` does."""

from __future__ import annotations

import signal
import sys


def main() -> int:
    """Returns the exit code. Until there is a stack to be stopped, Ctrl-C ends the process without a word."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from devstack import cli  # noqa: PLC0415 - takes a while

    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
