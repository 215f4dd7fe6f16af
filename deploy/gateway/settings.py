"""What the gateway needs to know: where it listens, where the API is, and whom it trusts."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


class Address(BaseModel):
    """A host and a port; an IPv6 host is written in brackets."""

    model_config = ConfigDict(frozen=True)

    host: str = Field(min_length=1)
    port: int = Field(ge=1, le=65535)

    @classmethod
    def parse(cls, text: str) -> Address:
        """Reads `host:port` or `[host]:port`."""
        host, _, port = text.strip().rpartition(":")
        if not host or not port.isdecimal():
            raise ValueError(f"{text!r} is not HOST:PORT")
        return cls(host=host.removeprefix("[").removesuffix("]"), port=int(port))


class Settings(BaseSettings):
    """Environment variables `TASKHUB_*`; a flag of the command line goes before its variable."""

    model_config = SettingsConfigDict(env_prefix="TASKHUB_", frozen=True, extra="ignore")

    rest_address: Annotated[Address, NoDecode] = Field(
        default=Address(host="127.0.0.1", port=8080), description="Where REST is served."
    )
    backend_address: Annotated[tuple[Address, ...], NoDecode] = Field(
        min_length=1, description="Every API process, by a port of its own, separated by commas."
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="Origins whose pages may call, or `*`, separated by commas; none by default."
    )
    trusted_hops: int = Field(
        default=0, ge=0, le=16, description="Proxies in front of the gateway that append to x-forwarded-for."
    )

    @field_validator("rest_address", mode="before")
    @classmethod
    def _one_address(cls, value: object) -> object:
        return Address.parse(value) if isinstance(value, str) else value

    @field_validator("backend_address", mode="before")
    @classmethod
    def _addresses(cls, value: object) -> object:
        return tuple(Address.parse(part) for part in value.split(",")) if isinstance(value, str) else value

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _origins(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value
