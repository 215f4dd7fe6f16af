"""`make demo`: a fresh stack on free ports in a throw-away folder, the main job through every door, real answers."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from devstack.demo.doors import BufDoor, Door, GrpcurlDoor, StubDoor
from devstack.demo.main_job import MainJob, StepFailedError
from devstack.demo.rest import RestDoor
from devstack.demo.stack import ThrowAwayStack

SECRETS = ("password", "accessToken", "refreshToken")


class Screen:
    """Prints each step: what was asked, and the real answer."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, soft_wrap=True)
        self.steps = 0

    def heading(self, text: str) -> None:
        """Begins a door."""
        self._console.rule(f"[bold]{escape(text)}")

    def step(self, title: str, sent: Any, answer: Any) -> None:
        """Prints one step of the main job."""
        self.steps += 1
        self._console.print(f"\n[bold]{self.steps}. {escape(title)}[/bold]")
        if sent is not None:
            self._console.print(f"[cyan]→ {escape(sent)}[/cyan]")
            self._console.print(escape(json.dumps(shorten(answer), indent=2, ensure_ascii=False)))
            return
        for name in ("from", "to", "subject", "message_id"):
            self._console.print(f"[green]{name}: {escape(str(answer[name]))}[/green]")
        self._console.print(f"\n[green]{escape(answer['text'].rstrip())}[/green]")

    def say(self, text: str) -> None:
        """Prints a line."""
        self._console.print(text)


def shorten(answer: Any) -> Any:
    """Returns the answer with its tokens cut short: they end up in terminals' histories."""
    if isinstance(answer, dict):
        return {
            name: f"{value[:12]}…" if name in SECRETS and isinstance(value, str) else shorten(value)
            for name, value in answer.items()
        }
    return [shorten(value) for value in answer] if isinstance(answer, list) else answer


def doors(grpc_address: str, rest_address: str) -> list[Door]:
    """Returns every door that this machine can open."""
    found: list[Door] = [RestDoor(rest_address), StubDoor(grpc_address), BufDoor(grpc_address)]
    local = Path(".cache/bin/grpcurl")
    grpcurl = shutil.which("grpcurl") or (str(local) if local.exists() else None)
    return [*found, GrpcurlDoor(grpc_address, grpcurl)] if grpcurl else found


def main() -> int:
    """Returns 0 only if every step did what it should."""
    screen = Screen()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="taskhub-demo-") as folder, ThrowAwayStack(Path(folder), screen.say) as up:
        admin = up.administrator()
        for door in doors(up.grpc, up.rest):
            screen.heading(door.name)
            try:
                MainJob(door, up.mailbox, admin, screen.step).run()
            except StepFailedError as failure:
                screen.say(f"\n[bold red]{escape(str(failure))}[/bold red]")
                return 1
    screen.say(f"\n[bold]{screen.steps} steps, all as they should be, in {time.monotonic() - began:.0f} s.[/bold]")
    return 0


if __name__ == "__main__":
    sys.exit(main())
