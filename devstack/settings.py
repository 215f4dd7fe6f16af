"""Settings of the embedded run; whatever else is named `TASKHUB_*` goes through to the services."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from devstack.ports import Address


def _parse(value: object) -> object:
    return Address.parse(value) if isinstance(value, str) else value


Listen = Annotated[Address, BeforeValidator(_parse), NoDecode]


class StackSettings(BaseSettings):
    """Where the stack keeps its data and where it listens. Port 0 asks for a free one; stack.json tells which."""

    model_config = SettingsConfigDict(env_prefix="TASKHUB_", frozen=True, extra="ignore")

    data_dir: Path = Field(default=Path(".taskhub"), description="PostgreSQL's files, mail, logs and keys.")
    grpc_address: Listen = Address("127.0.0.1", 50051)
    rest_address: Listen = Address("127.0.0.1", 8080)
    metrics_address: Listen = Address("127.0.0.1", 9464)
    worker_metrics_address: Listen | None = Field(default=None, description="127.0.0.1:9465, else a free port.")
    mailbox_address: Listen | None = Field(
        default=None, description="The mailbox page: 127.0.0.1:8025, else a free port."
    )
    api_processes: int = Field(default=2, ge=1, le=64)
