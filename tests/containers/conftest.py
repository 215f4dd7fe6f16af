"""The composed stack, once for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.containers.composed import ComposedStack


@pytest.fixture(scope="session")
def composed() -> Iterator[ComposedStack]:
    """A fresh stack, built from what lies here."""
    with ComposedStack() as up:
        yield up


@pytest.fixture(scope="session")
def composed_admin(composed: ComposedStack) -> dict[str, str]:
    """The headers of an administrator."""
    return composed.administrator()
