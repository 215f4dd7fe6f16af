"""Serves the mailbox until SIGTERM. Flags, or the environment variables named in their help."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import threading
from pathlib import Path

from devstack.mailbox import smtp, web
from devstack.mailbox.store import Store
from devstack.ports import Address


def arguments() -> argparse.Namespace:
    """Reads the command line, the environment where it is silent."""
    parser = argparse.ArgumentParser(prog="python -m devstack.mailbox", description=__doc__)
    for flag, kind, default, what in (
        ("smtp", Address.parse, "127.0.0.1:1025", "where to take mail"),
        ("http", Address.parse, "127.0.0.1:8025", "where to show it"),
        ("folder", Path, ".taskhub/mail", "where to keep it"),
    ):
        name = f"TASKHUB_MAILBOX_{flag.upper()}"
        parser.add_argument(
            f"--{flag}", type=kind, default=os.environ.get(name, default), help=f"{what} ({name}, {default})"
        )
    return parser.parse_args()


async def serve(options: argparse.Namespace) -> None:
    """Listens on both sides until a signal comes."""
    loop, stopped, store = asyncio.get_running_loop(), asyncio.Event(), Store(options.folder)
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    mail = await smtp.listen(loop, options.smtp, store)
    pages = web.server(options.http, store)
    threading.Thread(target=pages.serve_forever, daemon=True).start()
    await stopped.wait()
    mail.close()
    await asyncio.to_thread(pages.shutdown)
    pages.server_close()


def main() -> int:
    """Returns the exit code: 1 where an address or the folder cannot be used."""
    options = arguments()
    try:
        asyncio.run(serve(options))
    except OSError as error:
        print(f"mailbox: {error} (smtp {options.smtp}, http {options.http}, folder {options.folder})", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
