"""The whole stack, as `make run` starts it, once for all tests that look from outside."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from devstack.demo.stack import ThrowAwayStack


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ThrowAwayStack]:
    """A fresh stack on free ports, in a folder with a space in its path."""
    with ThrowAwayStack(tmp_path_factory.mktemp("whole stack"), print) as up:
        yield up


@pytest.fixture(scope="session")
def admin(stack: ThrowAwayStack) -> dict[str, str]:
    """The headers of an administrator."""
    return stack.administrator()
