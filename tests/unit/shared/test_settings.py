"""What settings say of themselves."""

from __future__ import annotations

import pytest

from api_service.settings import ApiSettings
from shared.settings import DatabaseSettings
from worker_service.settings import WorkerSettings

URLS = {
    "database_url": "postgresql://taskhub:hidden@db/taskhub",
    "database_direct_url": "postgresql://taskhub:hidden@db:6432/taskhub",
    "broker_url": "redis://:hidden@redis/0",
    "rate_limit_url": "redis://:hidden@redis/1",
    "smtp_url": "smtp://taskhub:hidden@mail",
    "secret_key": "hidden" * 8,
}


@pytest.mark.parametrize("kind", [DatabaseSettings, ApiSettings, WorkerSettings])
def test_a_representation_of_settings_holds_no_password(kind: type[DatabaseSettings]) -> None:
    settings = kind.model_validate(URLS)
    assert "hidden" in settings.dsn
    assert "hidden" not in f"{settings!r} {settings}"
