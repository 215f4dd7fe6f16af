"""docs/access.md is what the contract says."""

from __future__ import annotations

from docs import generate


def test_the_table_of_access_rules_is_fresh() -> None:
    assert generate.DOCUMENT.read_text() == generate.document(), "run `make protos`"
