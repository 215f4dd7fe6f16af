"""Every row of the table "Failure" in its short form, on one stack, as `make test` runs it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos import invariants
from tests.chaos.harness import Order, run
from tests.chaos.rows import ROWS
from tests.chaos.stack import Stack

#: Another one may be given to `make chaos`.
SEED = 1
#: Seconds, against the 15 and the 5 that are shipped and that `make chaos` leaves alone: rows wait for their end.
LEASE, GRACE = "5", "2"


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """What `make run` starts, and a second worker."""
    # Not under pytest's folder: every pytest that starts closes that one, and PostgreSQL, as another user, could not
    # come back from its crash.
    with (
        tempfile.TemporaryDirectory(prefix="taskhub-chaos-") as folder,
        Stack(Path(folder), print, TASKHUB_LEASE_SECONDS=LEASE, TASKHUB_SHUTDOWN_GRACE_SECONDS=GRACE) as up,
    ):
        yield up


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stretches every bound in seconds: those of the goals are `make chaos`'s, on a machine that does nothing else."""
    for name in ("OK_AGAIN", "DONE_AGAIN", "AT_ONCE", "GONE", "RESUMED"):
        monkeypatch.setattr(invariants, name, 5 * getattr(invariants, name))
    monkeypatch.setattr(invariants, "SLOWER", 1.0)


@pytest.mark.parametrize("id_", ROWS)
def test_short_form(id_: str, stack: Stack, tmp_path: Path) -> None:
    result = run(Order(ROWS[id_], SEED, short=True), stack, tmp_path, print)
    assert result.violations == [], "\n".join([*result.violations[:20], *result.account])
