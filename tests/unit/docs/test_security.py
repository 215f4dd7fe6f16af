"""docs/security.md names tests that exist, and every chapter and risk."""

from __future__ import annotations

import ast
import re

import pytest

from tests.support.servers import ROOT

TEXT = (ROOT / "docs/security.md").read_text()
TESTS = re.findall(r"`(tests/[^`:]+\.py)::(\w+)`", TEXT)


@pytest.mark.parametrize(("path", "name"), TESTS)
def test_every_named_test_exists(path: str, name: str) -> None:
    tree = ast.parse((ROOT / path).read_text())
    assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_threat_names_what_proves_its_defence() -> None:
    [table] = re.findall(r"^\| threat .*?\n\n", TEXT, re.MULTILINE | re.DOTALL)
    assert [row for row in table.strip().splitlines()[2:] if "::test_" not in row] == []


def test_every_risk_and_every_chapter_is_spoken_of() -> None:
    assert re.findall(r"^\| API(\d+) ", TEXT, re.MULTILINE) == [str(number) for number in range(1, 11)]
    assert set(re.findall(r"\bV(\d+)\b", TEXT)) == {str(number) for number in range(1, 17)}
