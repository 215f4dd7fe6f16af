"""Requests of the OpenAPI document that nobody would send on purpose."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import quote, urlencode

import yaml

from tests.support.fuzz import NUMBERS, REALS, TEXTS, Fuzzer

BODIES = (
    b"", b"{", b"[]", b"null", b'"x"', b"1", b"{}{}", b'{"a":', b"\xff\xfe", b'{"title":"\xed\xa0\x80"}',
    b"\xef\xbb\xbf{}",
    b'{"title":"\\ud800"}', b'{"title":"\\udc00\\ud800"}', b'{"title":"a","title":"b"}', b'{"task":{"task":{}}}',
    b'{"pageSize":1e999}', b'{"pageSize":' + b"9" * 400 + b"}", b'{"' + b"a" * 100_000 + b'":1}', b"[" * 1000,
    b'{"task":' * 70 + b"1" + b"}" * 70, b"{" + b'"x":1,' * 5000 + b'"y":2}', b"--", b"a=b&c=d", b"\x00", b"NaN",
)  # fmt: skip
TYPES = (
    "application/json",
    "application/json; charset=utf-8",
    "text/plain",
    "application/grpc",
    "",
    "multipart/form-data",
    "*/*",
)
TIMES = ("0000-00-00T00:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999999Z", "10000-01-01T00:00:00Z",
         "now", "2024-02-29T24:00:00Z", "2024-01-01T00:00:00+99:99", "1969-12-31T23:59:59Z", "2024-01-01")  # fmt: skip


@dataclass(frozen=True)
class Operation:
    """One operation of the document."""

    verb: str
    path: str
    parameters: list[dict[str, Any]]
    body: dict[str, Any] | None


@dataclass
class Request:
    """One request, as it can be made again."""

    verb: str
    target: str
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None


class Document:
    """Makes requests from docs/openapi.yaml. `names` are of resources that exist."""

    def __init__(self, path: Path, seed: int, names: list[str]) -> None:
        document = yaml.safe_load(path.read_text())
        self._schemas: dict[str, Any] = document["components"]["schemas"]
        common: dict[str, Any] = document["components"].get("parameters", {})
        self._fuzz = Fuzzer(seed, names)
        self.random: Random = self._fuzz.random
        self._ids = [name.partition("/")[2] for name in names]
        self.operations = [
            Operation(verb.upper(), at, [_found(common, one) for one in said.get("parameters", [])], _body(said))
            for at, each in document["paths"].items()
            for verb, said in each.items()
            if verb in {"get", "post", "patch", "put", "delete"}
        ]

    def request(self) -> Request:
        """Returns the next request: by the document, but for what is in it."""
        operation = self.random.choice(self.operations)
        path, query = operation.path, []
        headers: dict[str, str] = {}
        for parameter in operation.parameters:
            name, where, schema = parameter["name"], parameter["in"], parameter["schema"]
            if where == "path":
                path = path.replace(f"{{{name}}}", self._segment())
            elif where == "query" and self.random.random() < 0.4:
                query += [(name, self._written(schema)) for _ in range(self.random.choice((1, 1, 1, 2)))]
            elif where == "header" and self.random.random() < 0.3:
                headers[name] = "".join(char for char in self._fuzz.text() if " " <= char <= "~")[:300]
        if self.random.random() < 0.05:
            query.append((self._fuzz.text()[:50], self._fuzz.text()[:2000]))
        made = Request(operation.verb, path + (f"?{urlencode(query)}" if query else ""), headers)
        if operation.body is not None or self.random.random() < 0.05:
            made.body = self._json(operation.body)
            made.headers["content-type"] = TYPES[0] if self.random.random() < 0.9 else self.random.choice(TYPES)
        return made

    def _segment(self) -> str:
        match self.random.randrange(5):
            case 0:
                return quote(self._fuzz.text()[:500], safe="") or "-"
            case 1:
                return str(uuid.UUID(int=self.random.getrandbits(128)))
            case 2:
                return self.random.choice(("%FF", "%ED%A0%80", "%00", "a%2Fb", "..", "1:foo", "-", "me", "%E2%80%A8"))
            case _:
                return self.random.choice(self._ids)

    def _json(self, schema: dict[str, Any] | None) -> bytes:
        if schema is None or self.random.random() < 0.15:
            return self.random.choice(BODIES)
        text = json.dumps(self._value(schema, 6), ensure_ascii=self.random.random() < 0.5).encode()
        return self._fuzz.bent(text) if self.random.random() < 0.15 else text

    def _written(self, schema: dict[str, Any]) -> str:
        value = self._value(schema, 1)
        return value[:3000] if isinstance(value, str) else json.dumps(value)

    def _value(self, schema: dict[str, Any], depth: int) -> Any:
        if self.random.random() < 0.1 or not depth:  # something of another type
            return self.random.choice(
                (None, True, 0, -1, 1.5, "", [], {}, [None], {"": None}, *NUMBERS, *REALS[:7], *TEXTS)
            )
        if "$ref" in schema:
            schema = self._schemas[schema["$ref"].rpartition("/")[2]]
        for choice in ("oneOf", "anyOf", "allOf"):
            if choice in schema:
                return self._value(self.random.choice(schema[choice]), depth)
        if "enum" in schema:
            return self.random.choice([*schema["enum"], "NONE", 99])
        kind = schema.get("type")
        return self._of_type(self.random.choice(kind) if isinstance(kind, list) else kind, schema, depth)

    def _of_type(self, kind: str | None, schema: dict[str, Any], depth: int) -> Any:
        match kind:
            case "object":
                return self._object(schema, depth)
            case "array":
                return [
                    self._value(schema.get("items", {}), depth - 1) for _ in range(self.random.choice((0, 1, 2, 30)))
                ]
            case "string":
                return self.random.choice(TIMES) if schema.get("format") == "date-time" else self._fuzz.text()
            case "boolean":
                return self.random.random() < 0.5
            case "integer" | "number":
                return self.random.choice(NUMBERS)
            case _:
                return None

    def _object(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        known = schema.get("properties", {})
        made = {name: self._value(inner, depth - 1) for name, inner in known.items() if self.random.random() < 0.6}
        more = schema.get("additionalProperties")
        for _ in range(self.random.choice((0, 0, 1, 3))):
            made[self._fuzz.text()[:200]] = self._value(
                more if isinstance(more, dict) else {"type": "string"}, depth - 1
            )
        return made


def _found(common: dict[str, Any], parameter: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = common[parameter["$ref"].rpartition("/")[2]] if "$ref" in parameter else parameter
    return found


def _body(said: dict[str, Any]) -> dict[str, Any] | None:
    content = said.get("requestBody", {}).get("content", {})
    return next((each["schema"] for each in content.values()), None)
