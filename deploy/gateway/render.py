"""Writes Envoy's configuration from the template, the contract and the settings."""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files

import jinja2
import taskhub.v1

from deploy.gateway import contract
from deploy.gateway.settings import Settings

PACKAGE = taskhub.v1.__name__
#: Reasons whose HTTP status is not that of their code. The API says so in its trailers as well, which REST loses
#: whenever there was initial metadata.
HTTP_STATUS = {"IDEMPOTENCY_KEY_REUSED": 422, "BODY_TOO_LARGE": 413}

#: Where the links in mails point.
PAGES = ("verify", "reset", "change-email")


@dataclass(frozen=True)
class Limits:
    """Sizes in bytes, times in seconds."""

    request_bytes: int = 4 * 1024 * 1024
    response_bytes: int = 32 * 1024 * 1024
    #: Of Struct values in a request; each level takes two of the 100 that protobuf allows.
    json_depth: int = 32
    #: gRPC begins to refuse metadata at 8 KiB, and adds entries of its own.
    metadata_bytes: int = 6 * 1024
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
    Refusal(403, 3, "PROTOCOL_UNSUPPORTED", "There is no other protocol to change to."),
    Refusal(404, 5, "ROUTE_NOT_FOUND", "There is no such path."),
    Refusal(408, 4, "REQUEST_TIMEOUT", "The request did not arrive in time."),
    Refusal(413, 3, "BODY_TOO_LARGE", "The body is larger than 4 MiB."),
    Refusal(426, 3, "PROTOCOL_UNSUPPORTED", "Speak HTTP/1.1 or HTTP/2."),
    Refusal(431, 3, "HEADERS_TOO_LARGE", "The request's headers are too large or too many."),
    Refusal(500, 13, "INTERNAL", "Something went wrong on our side."),
    Refusal(501, 3, "TRANSFER_ENCODING_UNSUPPORTED", "The body comes whole or in chunks, in no other encoding."),
    Refusal(502, 14, "API_UNREACHABLE", "The API broke off; try again, with the same idempotency key.", retry=1),
    Refusal(
        503, 14, "API_UNREACHABLE", "The API cannot be reached; try again, with the same idempotency key.", retry=1
    ),
    Refusal(504, 4, "DEADLINE_EXCEEDED", "The deadline passed before the answer was ready."),
)
#: What gRPC's library in the API says by itself, without a reason: too late, too much, nothing there, broken off.
LIBRARY = (
    Refusal(499, 1, "CANCELLED", "The call was cancelled."),
    Refusal(504, 4, "DEADLINE_EXCEEDED", "The deadline passed before the answer was ready."),
    Refusal(429, 8, "RESOURCE_EXHAUSTED", "The request is larger than the API takes."),
    Refusal(501, 12, "METHOD_NOT_IMPLEMENTED", "The API does not implement this method."),
    Refusal(500, 13, "INTERNAL", "Something went wrong on our side."),
    Refusal(503, 14, "API_UNREACHABLE", "The API broke off; try again, with the same idempotency key."),
)


def render(settings: Settings, limits: Limits | None = None) -> str:
    """Returns the configuration, one YAML document that needs no other file."""
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("deploy.gateway", "."),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - YAML and Lua, never HTML
    )
    templates.filters["lua"] = _lua
    limits = limits or Limits()
    pages = {f"/{name}": (files("deploy.gateway") / f"{name}.html").read_text() for name in PAGES}
    routes = contract.routes()
    return templates.get_template("envoy.yaml.j2").render(
        settings=settings,
        limits=limits,
        package=PACKAGE,
        services=[service.full_name for service in contract.services()],
        descriptors=base64.b64encode(contract.descriptor_set()).decode(),
        lua=templates.get_template("edge.lua.j2").render(
            limits=limits,
            library=LIBRARY,
            http_status=HTTP_STATUS,
            routes=[_for_lua(route) for route in routes],
            pages=[{"path": path, "text": text, "policy": _policy(text)} for path, text in pages.items()],
        ),
        refusals=REFUSALS,
        streams=sorted({r.call for r in routes if r.rpc.server_streaming or r.rpc.client_streaming}),
        uploads=[_pattern(r, re.escape, "[^/:]+", ".+") for r in routes if r.body and not r.json],
        static=all(_is_ip(address.host) for address in settings.backend_address),
    )


def _policy(page: str) -> str:
    """Returns a content security policy under which the page's own script and style count, and no others."""
    return (
        f"default-src 'none'; script-src {_digest('script', page)}; style-src {_digest('style', page)};"
        " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _digest(element: str, page: str) -> str:
    [text] = re.findall(f"<{element}>(.*?)</{element}>", page, re.DOTALL)
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _for_lua(route: contract.Route) -> dict[str, object]:
    return {
        "verb": route.verb,
        "pattern": f"^{_pattern(route, _escape_for_lua, '[^/:]+', '.+')}$",
        "parameters": {
            name: parameter.path for parameter in route.parameters for name in (parameter.path, parameter.json_path)
        },
        "lists": [parameter.path for parameter in route.parameters if parameter.field.is_repeated],
        "body": "json" if route.json else "raw" if route.body else "none",
    }


def _pattern(route: contract.Route, escape: Callable[[str], str], one: str, many: str) -> str:
    """Returns the path as a regular expression of some dialect; no id holds a colon, which begins a verb."""
    wildcards = {"*": one, "**": many}
    return "".join(wildcards.get(part) or escape(part) for part in re.split(r"(\*\*|\*)", route.path))


def _escape_for_lua(text: str) -> str:
    return re.sub(r"([^\w/:])", r"%\1", text, flags=re.ASCII)


def _lua(value: object) -> str:
    """Writes a string, a boolean or None as Lua does; JSON's escapes for plain ASCII are Lua's as well."""
    return "nil" if value is None else json.dumps(value)


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
