"""Turns what the generator makes of the .proto files into the document that REST callers read.

The generator (protoc-gen-connect-openapi) knows paths, messages, comments and field rules. What it does not know is
ours: access rules, idempotency keys, the one error shape, and how the gateway treats what it is sent.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any

from buf.validate import validate_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions
from taskhub.v1 import options_pb2

from deploy.gateway import contract
from deploy.gateway.openapi import errors, raw

Node = dict[str, Any]

PACKAGE = "taskhub.v1"

ABOUT = """\
Accounts, tasks and background jobs over REST: the same contract as TaskHub's gRPC API, transcoded by its gateway.

- JSON is that of proto3: lowerCamelCase names, enums by name, 64-bit integers as strings, times in RFC 3339. Fields
  that were never set are absent where the contract calls them optional, and printed with their zero value otherwise.
- Fields of a body that nobody knows are ignored. Query parameters that nobody knows are refused.
- Every error is a `google.rpc.Status`; programs look at `reason` of its `ErrorInfo`, which is stable.
- Mutations take an `Idempotency-Key`: the same request with the same key happens once, and is answered alike.
"""
KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Names this one mutation, so that sending it again is safe. Kept for at least 24 hours.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[\\x20-\\x7e]+$"},
}
HEADERS: Node = {
    "X-Request-Id": {"description": "What logs call this request; the caller's own if there was one."},
    "Idempotency-Replayed": {"description": "`true` where an earlier answer is given again and nothing happened now."},
    "RateLimit": {"description": 'Of which limit nothing is left, and for how many seconds: `"read";r=0;t=2`.'},
    "RateLimit-Policy": {"description": 'The limit, in requests within a window of seconds: `"read";q=60000;w=60`.'},
    "Retry-After": {"description": "Seconds after which the same request may be sent again."},
    "WWW-Authenticate": {"description": "Always `Bearer`."},
    **raw.HEADERS,
}
#: Statuses beside 200 that any route can answer with, and those that need what only some routes have. What is left
#: belongs to no route: a wrong verb, a broken connection.
ALWAYS, WITH_ACCOUNT, WITH_NAME, WITH_CHANGE, WITH_BODY = (
    (400, 429, 431, 500, 503, 504),
    (401, 403),
    (404,),
    (409,),
    (413, 415),
)
NAMED = {*ALWAYS, *WITH_ACCOUNT, *WITH_NAME, *WITH_CHANGE, *WITH_BODY, 422}


def finish(document: Node) -> Node:
    """Returns the generator's document with all that the gateway and the contract add to it."""
    schemas: Node = document["components"]["schemas"]
    paths = {path: dict(operations) for path, operations in document["paths"].items()}
    routes = {(route.verb.lower(), route.path): route for route in contract.routes()}
    for path, operations in paths.items():
        for verb, operation in operations.items():
            _finish_operation(operation, routes[verb, re.sub(r"\{[^}]*\}", "*", path)])
    schemas.update(_error_schemas())
    for message in _messages():
        if message.full_name in schemas and message.file.package == PACKAGE:
            _add_rules(schemas[message.full_name], message)
    _each(document["paths"], _tidy)
    _each(document["tags"], _tidy)
    _each(schemas, _tidy)
    return {
        "openapi": "3.1.0",
        "info": {"title": "TaskHub", "version": "v1", "description": ABOUT},
        "servers": [{"url": "/"}],
        "tags": [{**tag, "name": tag["name"].rpartition(".")[2]} for tag in document["tags"]],
        "paths": paths,
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
            "parameters": {"IdempotencyKey": KEY},
            "headers": {name: {**header, "schema": {"type": "string"}} for name, header in HEADERS.items()},
            "responses": _responses(),
            "schemas": _reachable(schemas, paths),
        },
    }


def takes_key(rpc: MethodDescriptor) -> bool:
    """Whether an idempotency key has an effect."""
    return not _reads(rpc) and not _option(rpc, options_pb2.ignores_idempotency_key)


def statuses(route: contract.Route) -> list[int]:
    """Returns the errors that a route can answer with."""
    public = _option(route.rpc, options_pb2.access).kind == options_pb2.AccessRule.PUBLIC
    return sorted(
        {
            *ALWAYS,
            # Signing in is public, and can still fail.
            *(() if public and _reads(route.rpc) else WITH_ACCOUNT),
            *(WITH_NAME if route.bound else ()),
            *(() if _reads(route.rpc) else WITH_CHANGE),
            *(WITH_BODY if route.json else (413,) if route.body else ()),
            *((422,) if takes_key(route.rpc) else ()),
        }
    )


def _finish_operation(operation: Node, route: contract.Route) -> None:
    operation["tags"] = [route.rpc.containing_service.name]
    operation["operationId"] = route.rpc.name + operation["operationId"].partition(route.rpc.name)[2]
    _describe(operation, route.rpc)
    operation["security"] = _security(route.rpc)
    parameters = operation.setdefault("parameters", [])
    for parameter, pattern in zip(parameters, _bound_ids(route), strict=False):
        if pattern:
            parameter["schema"] = {**parameter["schema"], "pattern": pattern}
    for parameter in parameters:
        parameter["schema"].pop("description", None)
    success = {"X-Request-Id": _reference("headers", "X-Request-Id")}
    if takes_key(route.rpc):
        parameters.append(_reference("parameters", "IdempotencyKey"))
        success["Idempotency-Replayed"] = _reference("headers", "Idempotency-Replayed")
    if not parameters:
        del operation["parameters"]
    operation["responses"]["200"]["headers"] = success
    for status in statuses(route):
        operation["responses"][str(status)] = _reference("responses", str(status))
    operation["responses"]["default"] = _reference("responses", "default")
    if route.body_type == contract.RAW_BODY:
        raw.take_file(operation)
    elif "requestBody" in operation:  # all of a body may stand in the path
        operation["requestBody"]["required"] = needs_body(route)
    if route.rpc.output_type.full_name == contract.RAW_BODY:
        raw.answer_file(operation)


def needs_body(route: contract.Route) -> bool:
    """Whether the body holds a field that is required."""
    fields = route.rpc.input_type.fields
    held = [field for field in fields if field.name not in route.bound] if route.body == "*" else []
    held += [field for field in fields if field.name == route.body]
    return any(_option(field, validate_pb2.field).required for field in held)


def _describe(operation: Node, rpc: MethodDescriptor) -> None:
    """The comment's first sentence is the summary, the rest of it the description."""
    texts = [operation.get("summary", ""), operation.get("description", "")]
    comment = "\n\n".join(_reflow(text) for text in texts if text and text != rpc.name)
    sentence, _, rest = comment.partition(". ")
    first, _, after = sentence.partition("\n\n")
    summary, description = (first, f"{after}. {rest}" if rest else after) if after else (sentence, rest)
    operation["summary"] = summary.removesuffix(".")
    operation["description"] = description.strip()


def _security(rpc: MethodDescriptor) -> list[Node]:
    rule = _option(rpc, options_pb2.access)
    match rule.kind:
        case options_pb2.AccessRule.PUBLIC:
            return []
        case options_pb2.AccessRule.SCOPE:
            return [{"bearer": [rule.scope]}]
        case options_pb2.AccessRule.ADMIN:
            return [{"bearer": ["admin"]}]
        case _:
            return [{"bearer": []}]


def _bound_ids(route: contract.Route) -> Iterator[str | None]:
    """The rules of the ids in the path, in its order, which is the generator's order of parameters.

    A path holds `{id}` where the field holds `tasks/{id}`, so the field's rule applies without what stands around it.
    """
    for variable, template in contract.VARIABLE.findall(route.template):
        message: Any = route.rpc.input_type
        *holders, last = variable.split(".")
        for holder in holders:
            message = message.fields_by_name[holder].message_type
        patterns = id_patterns(message.fields_by_name[last])
        yield from patterns or (None,) * max(1, template.count("*"))


def id_patterns(field: FieldDescriptor) -> list[str]:
    """Returns the rules of the ids in a resource name, `tasks/{id}` or longer; none if that is not the rule."""
    rule = _option(field, validate_pb2.field).string.pattern
    whole = re.fullmatch(r"\^(?:\((?P<maybe>[a-z]+/.*)\)\?|(?P<always>[a-z]+/.*))\$", rule, re.IGNORECASE)
    return [f"^{id_}$" for id_ in (whole["maybe"] or whole["always"]).split("/")[1::2]] if whole else []


def _add_rules(schema: Node, message: Descriptor) -> None:
    """What the generator leaves out: keys of maps, secrets, and that a required text is not empty."""
    nodes = dict(properties_of(schema))
    for field in message.fields:
        rules, node = _option(field, validate_pb2.field), nodes[field.json_name]
        if field.GetOptions().debug_redact:
            node["format"] = "password"
        if rules.required and node.get("type") == "string":
            node.setdefault("minLength", 1)
        keys = rules.map.keys.string
        names = {
            "minLength": keys.min_len or None, "maxLength": keys.max_len or None, "pattern": keys.pattern or None,
        }  # fmt: skip
        if any(names.values()):
            node["propertyNames"] = {k: v for k, v in names.items() if v}


def properties_of(schema: Node) -> Iterator[tuple[str, Node]]:
    """Yields the fields of a message; those of a oneof are alternatives within it."""
    yield from schema.get("properties", {}).items()
    for part in (*schema.get("allOf", ()), *schema.get("oneOf", ())):
        yield from properties_of(part)


def _messages() -> Iterator[Descriptor]:
    seen: set[str] = set()
    waiting = [message for route in contract.routes() for message in (route.rpc.input_type, route.rpc.output_type)]
    while waiting:
        message = waiting.pop()
        if message.full_name not in seen:
            seen.add(message.full_name)
            waiting += [field.message_type for field in message.fields if field.message_type]
            yield message


def _responses() -> Node:
    reasons = {status: ", ".join(f"`{each}`" for each in found) for status, found in errors.reasons().items()}
    others = [f"- {each} {errors.name(each)}: {found}" for each, found in reasons.items() if each not in NAMED]
    return {
        **{
            str(each): _response(f"{errors.name(each)}. Reasons: {found}.", each)
            for each, found in reasons.items()
            if each in NAMED
        },
        "default": _response("What can happen to any request:\n\n" + "\n".join(others)),
    }


def _response(description: str, status: int | None = None) -> Node:
    headers = ["X-Request-Id"] + (["WWW-Authenticate"] if status == HTTPStatus.UNAUTHORIZED else [])
    headers += ["RateLimit", "RateLimit-Policy"] if status == HTTPStatus.TOO_MANY_REQUESTS else []
    headers += ["Retry-After"] if status in {None, 409, 429, 503} else []
    return {
        "description": description,
        "headers": {name: _reference("headers", name) for name in headers},
        "content": {"application/json": {"schema": _reference("schemas", "google.rpc.Status")}},
    }


def _error_schemas() -> Node:
    """google.rpc.Status with the details that TaskHub gives; the generator knows only that they are messages."""

    def detail(name: str, **properties: Node) -> Node:
        kind = {"type": "string", "const": f"type.googleapis.com/google.rpc.{name}"}
        return {"type": "object", "required": ["@type"], "properties": {"@type": kind, **properties}}

    text: Node = {"type": "string"}
    violation = {"type": "object", "properties": {"field": text, "description": text, "reason": text}}
    known = ("ErrorInfo", "BadRequest", "RetryInfo")
    return {
        "google.protobuf.Any": {
            "description": "Any message; `@type` says which.",
            "type": "object",
            "required": ["@type"],
            "properties": {"@type": text},
            "additionalProperties": True,
        },
        "google.rpc.Status": {
            "description": "What went wrong: a google.rpc.Code, words for people, and details for programs.",
            "type": "object",
            "required": ["code", "message", "details"],
            "properties": {
                "code": {"type": "integer", "format": "int32", "minimum": 0, "maximum": 16},
                "message": text,
                "details": {
                    "type": "array",
                    "items": {
                        "anyOf": [_reference("schemas", f"google.rpc.{name}") for name in known]
                        + [_reference("schemas", "google.protobuf.Any")]
                    },
                },
            },
        },
        "google.rpc.ErrorInfo": {
            "description": "Why, for programs. Every error of TaskHub and its gateway has one.",
            **detail(
                "ErrorInfo",
                reason={"type": "string", "pattern": "^[A-Z][A-Z0-9_]+[A-Z0-9]$"},
                domain={"type": "string", "const": "taskhub"},
                metadata={"type": "object", "additionalProperties": text},
            ),
        },
        "google.rpc.BadRequest": {
            "description": "Which fields, by their path in the .proto, and what is wrong with each.",
            **detail("BadRequest", fieldViolations={"type": "array", "items": violation}),
        },
        "google.rpc.RetryInfo": {
            "description": "When to try again.",
            **detail("RetryInfo", retryDelay={"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?s$"}),
        },
    }


def _tidy(node: Node) -> None:
    # Bodies may hold more than we know, and answers may come to.
    if node.get("additionalProperties") is False:
        del node["additionalProperties"]
    # The proto name again; a property that is called `title` is a mapping, not a text.
    if isinstance(node.get("title"), str):
        del node["title"]
    if isinstance(node.get("description"), str):
        text = re.sub(r"^\([A-Z_]+\) ", "", node["description"])
        text = re.sub(r"(?m)^\s*[a-z]+\.[a-z_]+ = .*\n?", "", text)
        node["description"] = _reflow(text)
    # What an answer does not have is absent, never null: only a request can say null, to clear a field.
    match node:
        case {"readOnly": True, "oneOf": [{"$ref": kind}, {"type": "null"}]}:
            del node["oneOf"]
            node["$ref"] = kind


def _reads(rpc: MethodDescriptor) -> bool:
    return bool(rpc.GetOptions().idempotency_level == MethodOptions.NO_SIDE_EFFECTS)


def _option(described: Any, extension: Any) -> Any:
    """Options of ours and of others' are extensions, whose types the stubs do not know."""
    return described.GetOptions().Extensions[extension]


def _reflow(text: str) -> str:
    """Joins the lines of each paragraph; the generator leaves the blanks that followed the slashes."""
    return "\n\n".join(" ".join(part.split()) for part in re.split(r"\n\s*\n", text.strip()))


def _each(node: object, act: Callable[[Node], None]) -> None:
    if isinstance(node, dict):
        act(node)
        for child in list(node.values()):
            _each(child, act)
    elif isinstance(node, list):
        for child in node:
            _each(child, act)


def _reachable(schemas: Node, paths: Node) -> Node:
    """Drops the messages that no path leads to: those whose fields are all in paths and queries."""
    found: set[str] = set()

    def follow(node: Node) -> None:
        kind, _, name = str(node.get("$ref", "")).removeprefix("#/components/").partition("/")
        if kind == "schemas" and name not in found:
            found.add(name)
            _each(schemas[name], follow)

    _each(paths, follow)
    _each(_reference("schemas", "google.rpc.Status"), follow)
    return {name: schemas[name] for name in sorted(found)}


def _reference(kind: str, name: str) -> Node:
    return {"$ref": f"#/components/{kind}/{name}"}
