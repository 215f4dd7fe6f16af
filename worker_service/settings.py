"""Settings of the worker, on top of those that both services read."""

from __future__ import annotations

from email.utils import parseaddr
from pathlib import Path

from pydantic import Field, FilePath, SecretStr, field_validator

from shared.settings import Settings
from worker_service.mailer import Mailer, check_authorities


class WorkerSettings(Settings):
    """What the worker needs to know. Times are in seconds."""

    smtp_url: SecretStr = Field(
        default=SecretStr("smtp://127.0.0.1:1025"),
        description="Mail server: smtp:// or smtps://, with user:password@ if it asks, and ?starttls=true.",
    )
    smtp_ca: FilePath | None = Field(
        default=None, description="Authorities of the mail server's certificate, in PEM, in place of the system's."
    )
    mail_from: str = Field(default="TaskHub <noreply@taskhub.localhost>", description="From of every mail.")
    link_base_url: str = Field(
        default="http://127.0.0.1:8080", pattern="^https?://[^/]", description="Where the links in mails point."
    )
    worker_concurrency: int = Field(default=2, ge=1, le=256, description="Pool processes of one worker.")
    worker_loops: bool = Field(default=True, description="Whether the loops are started beside the worker.")
    worker_metrics_address: str = Field(default="127.0.0.1:9465", pattern=r"^.+:\d{1,5}$")
    lease_seconds: float = Field(default=15, ge=1, le=3600, description="How long a silent worker keeps its jobs.")
    retry_base_seconds: float = Field(default=1, gt=0, description="Longest wait after the first failure; it doubles.")
    retry_cap_seconds: float = Field(default=600, gt=0, description="Longest wait after any failure.")
    housekeeping_period_seconds: float = Field(default=3600, ge=1, description="Between two jobs that keep house.")
    job_retention_seconds: int = Field(default=30 * 86400, ge=3600, description="How long ended jobs are kept.")
    event_retention_seconds: int = Field(default=365 * 86400, ge=86400, description="How long events are kept.")
    origin_retention_seconds: int = Field(
        default=90 * 86400, ge=0, description="How long events say from which address and program somebody called."
    )
    shutdown_grace_seconds: float = Field(
        default=5, ge=0, description="How long running jobs may go on after SIGTERM before they are handed back."
    )

    @field_validator("smtp_url")
    @classmethod
    def _names_a_mail_server(cls, url: SecretStr) -> SecretStr:
        Mailer(url.get_secret_value(), timeout=1)
        return url

    @field_validator("smtp_ca")
    @classmethod
    def _holds_certificates(cls, file: Path | None) -> Path | None:
        if file is not None:
            check_authorities(file)
        return file

    @field_validator("mail_from")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        if "@" not in parseaddr(value)[1]:
            raise ValueError("must be an address, or a name and an address: TaskHub <noreply@example.com>")
        return value
