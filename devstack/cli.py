"""The command line of the embedded run: starts a stack, keeps it until a signal asks for its end, stops it."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from contextlib import nullcontext, suppress

from pydantic import ValidationError
from rich.console import Console

from devstack.banner import banner
from devstack.errors import StackError
from devstack.settings import StackSettings
from devstack.stack import Stack


def main() -> int:
    """Parses the command line and returns the exit code: 1 if the stack could not run."""
    parser = argparse.ArgumentParser(
        prog="python -m devstack",
        description="Run the whole stack until Ctrl-C or SIGTERM.",
        epilog="Settings are environment variables: see devstack/settings.py.",
    )
    parser.add_argument("--quiet", action="store_true", help="one line an event, nothing to try")
    arguments = parser.parse_args()
    console = Console(highlight=False, markup=False, soft_wrap=True)
    try:
        asyncio.run(serve(StackSettings(), console, quiet=arguments.quiet))
    except StackError as error:
        print(f"taskhub: {error}", file=sys.stderr)
        return 1
    except ValidationError as error:
        for problem in error.errors(include_url=False):
            print(f"taskhub: TASKHUB_{str(problem['loc'][0]).upper()}: {problem['msg']}", file=sys.stderr)
        return 1
    return 0


async def serve(settings: StackSettings, console: Console, *, quiet: bool) -> None:
    """Starts the stack, keeps it until a signal asks for its end, and stops it in any case."""

    def say(line: str) -> None:
        # Nobody reads any more: no reason to stop serving.
        with suppress(OSError, SystemExit):
            console.print(line)

    stack = Stack(settings, say)
    stop_on_signals(stack)
    try:
        with console.status("starting") if console.is_terminal else nullcontext():
            await stack.start()
        say("ready" if quiet else banner(stack))
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        say("stopping (once more to stop at once)")
    finally:
        await stack.stop()
    say("stopped")


def stop_on_signals(stack: Stack) -> None:
    """The first signal asks the stack to stop; the second lets it wait for nobody."""
    serving, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert serving is not None  # noqa: S101 - for mypy: we run inside of it

    def on_signal() -> None:
        if not serving.cancelling():
            serving.cancel()
        else:
            stack.supervisor.hurry.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, on_signal)
