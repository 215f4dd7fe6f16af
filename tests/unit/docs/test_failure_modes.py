"""docs/failure-modes.md names tests, rows, metrics and log lines that exist, and every part has every heading."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.chaos.rows import ROWS

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs/failure-modes.md").read_text()
SECTIONS = dict(zip(*[iter(re.split(r"^## (.+)\n", TEXT, flags=re.MULTILINE)[1:])] * 2, strict=True))
HEADINGS = ("What fails.", "Impact.", "Why it is safe.", "Recovery.", "How to see it.", "Proven by")
SOURCE = "".join(
    path.read_text() for service in ("api_service", "worker_service") for path in (ROOT / service).rglob("*.py")
)
TESTS = re.findall(r"`(tests/[^`:]+\.py)::(\w+)(?:\[(\w+)\])?`", TEXT)


def test_every_part_has_its_section() -> None:
    assert list(SECTIONS) == ["An API process", "A background worker", "PostgreSQL", "Redis", "Rate limits", "Sign-in"]


@pytest.mark.parametrize("part", SECTIONS)
def test_every_section_says_everything_in_order(part: str) -> None:
    found = re.findall(r"^\*\*([^*]+)\*\*", SECTIONS[part], flags=re.MULTILINE)
    assert found == list(HEADINGS)


@pytest.mark.parametrize("part", SECTIONS)
def test_every_section_names_what_proves_it(part: str) -> None:
    assert "::test_" in SECTIONS[part]


@pytest.mark.parametrize(("path", "name", "row"), TESTS)
def test_every_named_test_exists(path: str, name: str, row: str) -> None:
    tree = ast.parse((ROOT / path).read_text())
    assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    assert not row or row in ROWS


def test_every_row_is_named() -> None:
    assert {row for _, _, row in TESTS if row} == set(ROWS)


def test_every_metric_exists() -> None:
    named = set(re.findall(r"`(taskhub_[a-z_]+)`", TEXT))
    assert named
    # Prometheus adds the suffix of a counter.
    assert {name for name in named if f'"{name.removesuffix("_total")}"' not in SOURCE} == set()


def test_every_log_line_exists() -> None:
    named = {name for name in re.findall(r"`([a-z]+(?:_[a-z]+)+|serving|draining)`", TEXT) if not _is_no_log_line(name)}
    assert named
    assert {name for name in named if not re.search(rf'log\.\w+\(\s*"{name}"', SOURCE)} == set()


def _is_no_log_line(name: str) -> bool:
    """Metrics, PostgreSQL's settings, and the fence."""
    elsewhere = {"synchronous_commit", "claim_token"}
    elsewhere |= {"idle_in_transaction_session_timeout", "client_connection_check_interval"}
    return name.startswith("taskhub_") or name in elsewhere
