"""Every row of the table "Failure" in its short form, on one stack, as `make test` runs it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.harness import Order, run
from tests.chaos.rows import ROWS
from tests.chaos.stack import Stack

#: Another one may be given to `make chaos`.
SEED = 1


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """What `make run` starts, and a second worker."""
    with Stack(tmp_path_factory.mktemp("chaos"), print) as up:
        yield up


@pytest.mark.parametrize("id_", ROWS)
def test_short_form(id_: str, stack: Stack, tmp_path: Path) -> None:
    result = run(Order(ROWS[id_], SEED, short=True), stack, tmp_path, print)
    assert result.violations == []
