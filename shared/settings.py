"""Settings that both services read: environment variables named `TASKHUB_*`, parsed once into a frozen object."""

from __future__ import annotations

import sys
from typing import NoReturn, TypeVar

from pydantic import Field, PostgresDsn, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

#: How a process ends whose settings cannot work: starting it again would not help.
EXIT_SETTINGS = 2


class DatabaseSettings(BaseSettings):
    """What it takes to reach PostgreSQL, and no more: all that migrations need."""

    model_config = SettingsConfigDict(env_prefix="TASKHUB_", frozen=True, extra="ignore")

    # Not in a representation: unlike SecretStr, these would say the password.
    database_url: PostgresDsn = Field(repr=False, description="PostgreSQL, 16 to 18: the only truth.")
    database_direct_url: PostgresDsn | None = Field(
        default=None,
        repr=False,
        description="PostgreSQL past a transaction pooler, for listeners, migrations and session locks.",
    )

    @property
    def dsn(self) -> str:
        """The connection string of the pool."""
        return str(self.database_url)

    @property
    def pooled(self) -> bool:
        """Whether a transaction pooler stands between: then nothing may be prepared, set or known of a session."""
        return self.direct_dsn != self.dsn

    @property
    def direct_dsn(self) -> str:
        """The connection string of what needs a session of its own."""
        return str(self.database_direct_url or self.database_url)


class Settings(DatabaseSettings):
    """What every service needs to know."""

    broker_url: SecretStr = Field(description="Redis, or any broker that Celery speaks: hints and rate limits.")
    secret_key: SecretStr = Field(
        min_length=32,
        description="Seals signing keys, and derives the keys of links, page tokens and fingerprints.",
    )
    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")
    otlp_endpoint: str | None = Field(
        default=None, description="Base URL of an OpenTelemetry collector (OTLP over HTTP); no traces without it."
    )


S = TypeVar("S", bound=DatabaseSettings)


def load(kind: type[S]) -> S:
    """Reads the environment, or ends the process with one clear line for each setting that is missing or wrong."""
    try:
        return kind()
    except ValidationError as error:
        _refuse(error)


def _refuse(error: ValidationError) -> NoReturn:
    for problem in error.errors(include_input=False, include_url=False):
        name = "TASKHUB_" + "_".join(str(part) for part in problem["loc"]).upper()
        what = "is not set" if problem["type"] == "missing" else f"is wrong: {problem['msg']}"
        print(f"taskhub: {name} {what}", file=sys.stderr)
    sys.exit(EXIT_SETTINGS)
