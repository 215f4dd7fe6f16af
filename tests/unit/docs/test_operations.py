"""The documents name every setting and every metric."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from api_service.settings import ApiSettings
from deploy.gateway.settings import Settings as GatewaySettings
from devstack.settings import StackSettings
from worker_service.settings import WorkerSettings

ROOT = Path(__file__).parents[3]
OPERATIONS = (ROOT / "docs/operations.md").read_text()
SETTINGS = {
    f"TASKHUB_{name.upper()}"
    for settings in (ApiSettings, WorkerSettings, GatewaySettings, StackSettings)
    for name in settings.model_fields
}


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_every_setting_is_explained(name: str) -> None:
    assert f"`{name}`" in OPERATIONS


def test_every_setting_explained_exists() -> None:
    assert set(re.findall(r"`(TASKHUB_[A-Z0-9_]+)`", OPERATIONS)) == SETTINGS


def test_every_metric_is_named() -> None:
    source = "".join(
        path.read_text() for folder in ("api_service", "worker_service") for path in (ROOT / folder).rglob("*.py")
    )
    metrics = set(re.findall(r'(?:Counter|Gauge|Histogram)\(\s*"(taskhub_[a-z_]+)"', source))
    assert metrics
    assert {name for name in metrics if name not in OPERATIONS} == set()
