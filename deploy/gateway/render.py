"""Writes Envoy's configuration from the template, the contract and the settings."""

from __future__ import annotations

import base64
import ipaddress
import json
import re
from dataclasses import dataclass

import jinja2
import taskhub.v1

from deploy.gateway import contract
from deploy.gateway.settings import Settings

PACKAGE = taskhub.v1.__name__


@dataclass(frozen=True)
class Limits:
    """Sizes in bytes, times in seconds."""

    request_bytes: int = 4 * 1024 * 1024
    response_bytes: int = 32 * 1024 * 1024
    deadline_seconds: int = 15
    stream_idle_seconds: int = 300
    connections: int = 10_000


@dataclass(frozen=True)
class Refusal:
    """What Envoy says by itself, by HTTP status."""

    http: int
    code: int
    reason: str
    message: str
    #: Seconds after which the same request may be sent again.
    retry: int | None = None


REFUSALS = (
    Refusal(400, 3, "REQUEST_MALFORMED", "The request is not valid HTTP."),
    Refusal(404, 5, "ROUTE_NOT_FOUND", "There is no such path."),
    Refusal(408, 4, "REQUEST_TIMEOUT", "The request did not arrive in time."),
    Refusal(413, 3, "BODY_TOO_LARGE", "The body is larger than 4 MiB."),
    Refusal(426, 3, "PROTOCOL_UNSUPPORTED", "Speak HTTP/1.1 or HTTP/2."),
    Refusal(431, 3, "HEADERS_TOO_LARGE", "The request's headers are too large or too many."),
    Refusal(500, 13, "INTERNAL", "Something went wrong on our side."),
    Refusal(502, 14, "API_UNREACHABLE", "The API broke off; try again.", retry=1),
    Refusal(503, 14, "API_UNREACHABLE", "The API cannot be reached; try again.", retry=1),
    Refusal(504, 4, "DEADLINE_EXCEEDED", "The deadline passed before the answer was ready."),
)


def render(settings: Settings, limits: Limits | None = None) -> str:
    """Returns the configuration, one YAML document that needs no other file."""
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("deploy.gateway", "."),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - YAML and Lua, never HTML
    )
    limits = limits or Limits()
    routes = contract.routes()
    return templates.get_template("envoy.yaml.j2").render(
        settings=settings,
        limits=limits,
        package=PACKAGE,
        services=[service.full_name for service in contract.services()],
        descriptors=base64.b64encode(contract.descriptor_set()).decode(),
        lua=templates.get_template("edge.lua.j2").render(limits=limits, refusals=REFUSALS),
        refusals=REFUSALS,
        streams=sorted({r.call for r in routes if r.rpc.server_streaming or r.rpc.client_streaming}),
        uploads=[],
        static=all(_is_ip(address.host) for address in settings.backend_address),
    )


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
