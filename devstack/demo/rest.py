"""The REST door: finds path, verb and body of a method in its `google.api.http` rule, as the gateway does."""

from __future__ import annotations

import http.client
import json
import re
from typing import Any
from urllib.parse import quote, urlencode

from google.api import annotations_pb2

from devstack.demo.doors import TIMEOUT, Answer, File, descriptor, refusal

VARIABLE = re.compile(r"\{([a-z_.]+)(?:=[^}]*)?\}")


class RestDoor:
    """JSON over HTTP, as external clients use it."""

    name = "REST (curl)"

    def __init__(self, address: str) -> None:
        self._address = address

    def call(self, method: str, request: dict[str, Any], headers: dict[str, str]) -> Answer:
        """Sends one request on a connection of its own."""
        verb, target, body = route(method, request)
        payload = None if body is None else json.dumps(body).encode()
        return _read(*self._send(verb, target, payload, headers | {"content-type": "application/json"}))

    def upload(self, method: str, request: dict[str, Any], file: File, headers: dict[str, str]) -> Answer:
        """Sends the file as the body, and the rest in the query."""
        verb, target, _ = route(method, request)
        return _read(*self._send(verb, target, file.data, headers | {"content-type": file.content_type}))

    def download(self, method: str, request: dict[str, Any], headers: dict[str, str]) -> Answer:
        """Takes the body of the answer for the file."""
        verb, target, _ = route(method, request)
        status, kind, body = self._send(verb, target, None, headers)
        if status >= http.HTTPStatus.BAD_REQUEST:
            return _read(status, kind, body)
        return Answer("OK", {"contentType": kind, "data": body.decode()})

    def _send(self, verb: str, target: str, body: bytes | None, headers: dict[str, str]) -> tuple[int, str, bytes]:
        connection = http.client.HTTPConnection(self._address, timeout=TIMEOUT)
        try:
            connection.request(verb, target, body, headers)
            response = connection.getresponse()
            return response.status, response.getheader("content-type", ""), response.read()
        finally:
            connection.close()


def _read(status: int, _: str, body: bytes) -> Answer:
    answer = json.loads(body)
    return Answer("OK", answer) if status < http.HTTPStatus.BAD_REQUEST else refusal(answer)


def route(method: str, request: dict[str, Any]) -> tuple[str, str, Any]:
    """Returns verb, path with query, and body of a call."""
    rule = descriptor(method).GetOptions().Extensions[annotations_pb2.http]
    verb = rule.WhichOneof("pattern")
    rest = dict(request)
    path = VARIABLE.sub(lambda found: quote(_take(rest, found[1].split(".")), safe="/"), getattr(rule, verb))
    body = None
    if rule.body == "*":
        body, rest = rest, {}
    elif rule.body:
        body = rest.pop(_camel(rule.body), {})
    query = f"?{urlencode(_flat(rest))}" if rest else ""
    return verb.upper(), path + query, body


def _take(request: dict[str, Any], path: list[str]) -> str:
    """Removes a field that travels in the path, and returns it."""
    *parents, last = (_camel(name) for name in path)
    for name in parents:
        request[name] = dict(request[name])  # the caller's own stays whole
        request = request[name]
    value: str = request.pop(last)
    return value


def _flat(values: dict[str, Any]) -> dict[str, str]:
    return {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in values.items()}


def _camel(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join(part.capitalize() for part in tail)
