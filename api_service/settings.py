"""Settings of the API, beside those that it shares with the worker."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, FilePath, SecretStr, ValidationInfo, field_validator
from pydantic_settings import NoDecode

from api_service.origin import Network
from shared.settings import Settings

_LAST_PORT = 65535
_REDIS = ("redis://", "rediss://", "unix://")


def _has_a_port(address: str) -> str:
    if int(address.rpartition(":")[2]) > _LAST_PORT:
        raise ValueError(f"a port is at most {_LAST_PORT}")
    return address


Address = Annotated[str, Field(pattern=r"^(\[[0-9a-fA-F:]+\]|[^:\s]+):[0-9]{1,5}$"), AfterValidator(_has_a_port)]


def check_pair(certificate: Path, key: Path) -> None:
    """Raises ValueError unless these are a certificate and its key."""
    try:
        # A password would be asked for at a terminal that nobody watches.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=lambda: b"")
    except OSError as error:
        raise ValueError("is not the key of the certificate, in PEM and without a password") from error


#: Calls a minute; 0 for no limit.
Limit = Annotated[int, Field(ge=0, le=6_000_000)]


class ApiSettings(Settings):
    """What an API process needs to know. Times are in seconds."""

    grpc_address: Address = Field(default="127.0.0.1:50051", description="Shared by all API processes.")
    backend_address: Address | None = Field(
        default=None,
        description="Where the first process listens for the gateway; the next ones take the ports that follow.",
    )
    trusted_proxies: Annotated[tuple[Network, ...], NoDecode] = Field(
        default=(),
        description="Networks, separated by commas, whose x-forwarded-for says where a call comes from: on the "
        "gateway's port alone, if it has one.",
    )
    metrics_address: Address = "127.0.0.1:9464"
    api_processes: int = Field(default=2, ge=1, le=64)
    reflection: bool = Field(default=True, description="Server reflection, which grpcurl and buf curl need.")

    database_pool_size: int = Field(default=8, ge=1, le=100, description="Connections of one process.")
    database_pool_timeout: float = Field(default=0.8, gt=0, description="How long a call waits for a connection.")
    statement_timeout: float = Field(default=30.0, gt=0)
    lock_timeout: float = Field(default=5.0, gt=0)

    tls_certificate: FilePath | None = Field(
        default=None,
        description="The chain of the gRPC port, in PEM; plain text without it. The gateway's port is plain.",
    )
    tls_key: FilePath | None = Field(default=None, validate_default=True, description="Its key, without a password.")
    tls_client_ca: FilePath | None = Field(
        default=None, description="Whoever calls the gRPC port must show a certificate of these authorities."
    )

    rate_limit_url: SecretStr | None = Field(default=None, description="Redis of the rate limits, if not the broker.")
    rate_limit_read: Limit = Field(default=60_000, description="Reads of one account.")
    rate_limit_write: Limit = Field(default=60_000, description="Writes of one account.")
    rate_limit_anonymous: Limit = Field(default=600, description="Calls without a token, of one address.")
    rate_limit_sign_in: Limit = Field(default=60, description="Passwords tried or made, of one address or account.")
    rate_limit_mail: Limit = Field(default=30, description="Mails asked for, of one address or account.")

    default_deadline: float = Field(default=15.0, gt=0, description="For calls that carry none.")
    maximum_deadline: float = Field(default=60.0, gt=0)
    upload_deadline: float = Field(default=600.0, gt=0, description="For calls that send a stream.")
    drain_delay_seconds: float = Field(
        default=1.0, ge=0, description="Between NOT_SERVING and the end of new calls: a health check's interval."
    )
    drain_seconds: float = Field(default=8.0, ge=0, description="How long calls in flight may finish after SIGTERM.")
    max_request_bytes: int = Field(default=4 * 1024 * 1024, ge=1024)
    max_import_bytes: int = Field(default=100 * 1024 * 1024, ge=1024, description="The largest file of ImportTasks.")
    watch_streams: int = Field(default=2000, ge=1, description="WatchTasks streams of one process, 40 KiB each.")
    max_connection_age: float = Field(default=300.0, gt=0, description="After it a client is asked to reconnect.")

    token_issuer: str = "taskhub"
    token_audience: str = "taskhub"
    access_token_seconds: int = Field(default=900, ge=30, le=86400)
    signing_key_days: int = Field(
        default=0, ge=0, le=3650, description="Age at which a signing key is rotated by itself; 0 for never."
    )
    refresh_token_seconds: int = Field(default=14 * 86400, ge=60)
    session_seconds: int = Field(default=90 * 86400, ge=60)
    refresh_grace_seconds: int = Field(default=10, ge=0, le=60)
    link_seconds: int = Field(default=24 * 3600, ge=60, description="How long a link lives that proves an address.")
    reset_link_seconds: int = Field(default=3600, ge=60, description="How long a link lives that changes a password.")

    argon2_time_cost: int = Field(default=2, ge=1)
    argon2_memory_kib: int = Field(default=19456, ge=8192)
    argon2_parallelism: int = Field(default=1, ge=1)
    password_threads: int = Field(default=1, ge=1, le=64, description="How many passwords are hashed at once.")

    @field_validator("tls_key")
    @classmethod
    def _belongs_to_the_certificate(cls, key: Path | None, info: ValidationInfo) -> Path | None:
        certificate = info.data.get("tls_certificate")
        if (certificate is None) != (key is None):
            raise ValueError("certificate and key come together")
        if certificate is not None and key is not None:
            check_pair(certificate, key)
        return key

    @field_validator("tls_client_ca")
    @classmethod
    def _needs_a_certificate(cls, authorities: Path | None, info: ValidationInfo) -> Path | None:
        if authorities is not None and info.data.get("tls_certificate") is None:
            raise ValueError("needs TASKHUB_TLS_CERTIFICATE")
        return authorities

    @property
    def longest_call(self) -> float:
        """Seconds after which a call has ended, if its caller reads what we say."""
        return max(self.maximum_deadline, self.upload_deadline, float(self.access_token_seconds)) + 60

    @property
    def rate_limit_redis(self) -> str | None:
        """The URL of the Redis that counts calls; None if there is none, since the broker is something else."""
        url = (self.rate_limit_url or self.broker_url).get_secret_value()
        return url if url.startswith(_REDIS) else None

    @field_validator("trusted_proxies", mode="before")
    @classmethod
    def _networks(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    password_queue: int = Field(
        default=64, ge=0, description="How many wait for that; beyond it calls are refused with a hint when to return."
    )

    lockout_failures: int = Field(default=5, ge=1, description="Wrong passwords of one account before it is locked.")
    lockout_address_failures: int = Field(default=100, ge=1, description="The same, of one address of callers.")
    lockout_seconds: float = Field(default=5.0, gt=0, description="The first lock; each further failure doubles it.")
    lockout_maximum_seconds: float = Field(default=3600.0, gt=0)
