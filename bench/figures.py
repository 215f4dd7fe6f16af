"""What a row comes to: a figure with its spread, the goal, and whether it was met."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of some rounds, and between what they lay."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Sums the rounds up."""
        return cls(statistics.median(values), min(values), max(values))

    def __str__(self) -> str:
        return f"{self.median:,.2f} ({self.low:,.2f} to {self.high:,.2f})"


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound that a median has to keep."""

    bound: float
    at_most: bool = False
    unit: str = "×"  # noqa: RUF001  times, as in the table of goals

    def met_by(self, value: float) -> bool:
        """Whether the value keeps it."""
        return value <= self.bound if self.at_most else value >= self.bound

    def share(self, value: float) -> float:
        """Returns how far the value goes: 1 is the goal, more is better, whichever way the bound points."""
        return self.bound / value if self.at_most else value / self.bound

    def __str__(self) -> str:
        return f"{'≤' if self.at_most else '≥'} {self.bound:.2f} {self.unit}"


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table."""

    row: str
    what: str
    spread: Spread
    goal: Goal
    #: Medians that the ratio comes from, in words.
    detail: dict[str, str] = field(default_factory=dict)

    @property
    def met(self) -> bool:
        """Whether the median keeps the goal."""
        return self.goal.met_by(self.spread.median)

    @property
    def verdict(self) -> str:
        """What the table says."""
        return "met" if self.met else "MISSED"

    def as_json(self) -> dict[str, Any]:
        """Returns the line for programs."""
        return {
            "row": self.row,
            "what": self.what,
            "figure": round(self.spread.median, 3),
            "low": round(self.spread.low, 3),
            "high": round(self.spread.high, 3),
            "unit": self.goal.unit,
            "goal": str(self.goal),
            "verdict": self.verdict,
            "detail": self.detail,
        }
