"""What a run leaves behind: a table for a person, JSON for a program, Markdown and a plot for the documents."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench.figures import Figure
from bench.machine import NOTES
from bench.plot import draw

COLUMNS = ("row", "figure", "median (range)", "goal", "verdict", "ours", "beside")


@dataclass(frozen=True, slots=True)
class Report:
    """The figures of one run, and what they depend on."""

    figures: Sequence[Figure]
    machine: Mapping[str, str]
    settings: Mapping[str, str]

    @property
    def met(self) -> bool:
        """Whether every goal was met."""
        return all(figure.met for figure in self.figures)

    def show(self, console: Console) -> None:
        """Prints machine, settings and table."""
        for name, value in {**self.machine, **self.settings}.items():
            console.print(f"[bold]{name}[/bold]  {escape(value)}", highlight=False)
        table = Table(*COLUMNS, show_lines=True)
        for figure in self.figures:
            colour = "green" if figure.met else "red"
            row, what, spread, goal, verdict, *detail = _cells(figure)
            table.add_row(row, escape(what), spread, goal, f"[bold {colour}]{verdict}[/]", *detail)
        console.print(table)

    def write(self, folder: Path, name: str) -> None:
        """Writes `name`.json, .md and .svg."""
        folder.mkdir(exist_ok=True)
        taken = datetime.now(UTC).isoformat(timespec="seconds")
        described = {"taken": taken, "machine": self.machine, "settings": self.settings, "notes": NOTES}
        figures = [figure.as_json() for figure in self.figures]
        (folder / f"{name}.json").write_text(json.dumps({**described, "figures": figures}, indent=2) + "\n")
        (folder / f"{name}.md").write_text(self._markdown(taken, name))
        (folder / f"{name}.svg").write_text(draw(self.figures, f"TaskHub, {taken[:10]}, {self.machine['processor']}"))

    def _markdown(self, taken: str, name: str) -> str:
        rows = [COLUMNS, ("---",) * len(COLUMNS), *map(_cells, self.figures)]
        table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
        facts = "\n".join(f"- {key}: {value}" for key, value in {**self.machine, **self.settings}.items())
        notes = "\n".join(f"- {note}" for note in NOTES)
        return f"# Benchmarks of {taken}\n\n{table}\n\n![plot]({name}.svg)\n\n{facts}\n\n{notes}\n"


def _cells(figure: Figure) -> tuple[str, ...]:
    detail = figure.detail.get("ours", ""), figure.detail.get("beside", "")
    return (figure.row, figure.what, str(figure.spread), str(figure.goal), figure.verdict, *detail)
