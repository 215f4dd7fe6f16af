"""Every error that REST callers meet, by HTTP status: those of the API, and those of the gateway."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

from deploy import gateway
from deploy.gateway.render import HTTP_STATUS, LIBRARY, REFUSALS
from shared.errors import Code, TaskHubError

#: How the transcoder maps google.rpc.Code; tried for real in tests/integration/gateway/test_answers.py.
OF_CODE = {
    Code.CANCELLED: 499, Code.UNKNOWN: 500, Code.INVALID_ARGUMENT: 400, Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404, Code.ALREADY_EXISTS: 409, Code.PERMISSION_DENIED: 403, Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400, Code.ABORTED: 409, Code.OUT_OF_RANGE: 400, Code.UNIMPLEMENTED: 501,
    Code.INTERNAL: 500, Code.UNAVAILABLE: 503, Code.UNAUTHENTICATED: 401,
}  # fmt: skip
#: What the Lua filter refuses, where it is not a plain 400.
OF_EDGE = {
    "CONTENT_TYPE_UNSUPPORTED": 415,
    "CONTENT_ENCODING_UNSUPPORTED": 415,
    "ROUTE_NOT_FOUND": 404,
    "METHOD_NOT_ALLOWED": 405,
    "HEADERS_TOO_LARGE": 431,
    "INTERNAL": 500,
}
NAMES = {413: "Content Too Large", 422: "Unprocessable Content", 499: "Client Closed Request"}


def reasons() -> dict[int, list[str]]:
    """Returns the reasons of ErrorInfo by the HTTP status that they come with."""
    found: dict[int, set[str]] = defaultdict(set)
    for error in _errors(TaskHubError):
        found[HTTP_STATUS.get(error.reason, OF_CODE[error.code])].add(error.reason)
    for refusal in (*REFUSALS, *LIBRARY):
        found[refusal.http].add(refusal.reason)
    for reason in edge_reasons():
        found[OF_EDGE.get(reason, 400)].add(reason)
    return {status: sorted(found[status]) for status in sorted(found)}


def edge_reasons() -> set[str]:
    """Returns the reasons that the Lua filter writes."""
    source = (Path(gateway.__file__).parent / "edge.lua.j2").read_text()
    return set(re.findall(r'(?:fault\(|status\(\d+, )"([A-Z_]+)"', source))


def name(status: int) -> str:
    """Returns the words of a status."""
    return NAMES.get(status) or HTTPStatus(status).phrase


def _errors(parent: type[TaskHubError]) -> Iterator[type[TaskHubError]]:
    yield parent
    for child in parent.__subclasses__():
        if child.__module__ == TaskHubError.__module__:
            yield from _errors(child)
