"""How a loop lives through an outage."""

from __future__ import annotations

import threading

import psycopg
from structlog.testing import capture_logs

from worker_service.database import Database
from worker_service.loop import Loop


class Crank(Loop):
    name = "crank"

    def __init__(self, turns: list[Exception | None]) -> None:
        super().__init__(Database("postgresql://nowhere", "test"))
        self.turns = turns
        self.stop = threading.Event()

    def run_once(self) -> int:
        turn = self.turns.pop(0)
        if not self.turns:
            self.stop.set()
        if turn is not None:
            raise turn
        return 1

    def wait(self, stop: threading.Event) -> None:
        """Does not: the test has no time to lose."""


def _events(turns: list[Exception | None]) -> list[str]:
    crank = Crank(turns)
    with capture_logs() as logs:
        crank.run(crank.stop)
    return [line["event"] for line in logs]


def test_an_outage_is_one_line_and_its_end_another() -> None:
    outage = psycopg.OperationalError("gone")
    assert _events([None, outage, outage, outage, None, None]) == ["loop_in_trouble", "loop_recovered"]


def test_two_outages_are_told_apart() -> None:
    outage = psycopg.OperationalError("gone")
    assert _events([outage, None, outage]) == ["loop_in_trouble", "loop_recovered", "loop_in_trouble"]


def test_a_mistake_of_ours_does_not_end_the_loop() -> None:
    assert _events([ValueError("ours"), None]) == ["loop_in_trouble", "loop_recovered"]


class Batches(Crank):
    full = 2

    def __init__(self, sizes: list[int]) -> None:
        super().__init__([None for _ in sizes])
        self.sizes = sizes
        self.waits: list[int] = []

    def run_once(self) -> int:
        super().run_once()
        return self.sizes.pop(0)

    def wait(self, stop: threading.Event) -> None:  # noqa: ARG002  the loop's signature
        self.waits.append(len(self.sizes))


def test_a_turn_that_was_not_full_is_followed_by_a_pause() -> None:
    batches = Batches([2, 1, 2, 0])
    batches.run(batches.stop)
    assert batches.waits == [2, 0]
