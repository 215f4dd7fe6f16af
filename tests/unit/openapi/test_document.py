from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from buf.validate import validate_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions
from openapi_spec_validator import validate
from taskhub.v1 import options_pb2

from deploy.gateway import contract
from deploy.gateway.openapi import errors, generator, raw
from deploy.gateway.openapi.__main__ import DOCUMENT
from deploy.gateway.openapi.document import id_patterns, properties_of
from deploy.gateway.render import REFUSALS
from shared.errors import IdempotencyKeyReused, TaskHubError

Node = dict[str, Any]
ROUTES = contract.routes()
EVERY_ROUTE = pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.verb} {route.template}")


@pytest.fixture(scope="module")
def document() -> Node:
    loaded: Node = yaml.safe_load(DOCUMENT.read_text())
    return loaded


def _operation(document: Node, route: contract.Route) -> Node:
    for path, operations in document["paths"].items():
        if re.sub(r"\{[^}]*\}", "*", path) == route.path and route.verb.lower() in operations:
            found: Node = operations[route.verb.lower()]
            return found
    raise AssertionError(f"{route.verb} {route.path} is missing")


def _resolve(document: Node, node: Node) -> Node:
    if "$ref" in node:
        target: Any = document
        for step in node["$ref"].removeprefix("#/").split("/"):
            target = target[step]
        return {**_resolve(document, target), **{k: v for k, v in node.items() if k != "$ref"}}
    if "oneOf" in node:
        return _resolve(document, node["oneOf"][0])
    return node


def test_the_document_is_openapi_3_1(document: Node) -> None:
    validate(document)
    assert document["openapi"].startswith("3.1.")


def test_nothing_but_the_routes_of_the_contract_is_there(document: Node) -> None:
    found = {
        (verb.upper(), re.sub(r"\{[^}]*\}", "*", path))
        for path, operations in document["paths"].items()
        for verb in operations
    }
    assert found == {(route.verb, route.path) for route in ROUTES}


@EVERY_ROUTE
def test_a_route_says_who_may_call(document: Node, route: contract.Route) -> None:
    options: Any = route.rpc.GetOptions()
    rule = options.Extensions[options_pb2.access]
    expected = {
        options_pb2.AccessRule.PUBLIC: [],
        options_pb2.AccessRule.ANY_ACCOUNT: [{"bearer": []}],
        options_pb2.AccessRule.SCOPE: [{"bearer": [rule.scope]}],
        options_pb2.AccessRule.ADMIN: [{"bearer": ["admin"]}],
    }
    assert _operation(document, route)["security"] == expected[rule.kind]


@EVERY_ROUTE
def test_a_route_takes_a_key_where_the_contract_says_so(document: Node, route: contract.Route) -> None:
    options: Any = route.rpc.GetOptions()
    changes = options.idempotency_level != MethodOptions.NO_SIDE_EFFECTS
    takes = changes and not options.Extensions[options_pb2.ignores_idempotency_key]
    operation = _operation(document, route)
    key = {"$ref": "#/components/parameters/IdempotencyKey"}
    assert (key in operation.get("parameters", [])) == takes
    assert ("422" in operation["responses"]) == takes


@EVERY_ROUTE
def test_a_route_takes_the_parameters_that_the_gateway_lets_pass(document: Node, route: contract.Route) -> None:
    parameters = [_resolve(document, each) for each in _operation(document, route).get("parameters", [])]
    queries = {each["name"] for each in parameters if each["in"] == "query"}
    assert queries == {parameter.json_path for parameter in route.parameters}
    assert len([each for each in parameters if each["in"] == "path"]) == route.path.count("*")


def _rules(schema: Node, field: FieldDescriptor) -> Iterator[tuple[str, object, object]]:
    """Yields each rule of the field that JSON Schema knows: its name there, what is said, what should be."""
    options: Any = field.GetOptions()
    rules = options.Extensions[validate_pb2.field]
    string, integer, pairs = rules.string, rules.int32, rules.map
    said = {
        "minLength": string.min_len if string.HasField("min_len") else None,
        "maxLength": string.max_len if string.HasField("max_len") else None,
        "pattern": string.pattern if string.HasField("pattern") else None,
        "format": "email" if string.email else None,
        "minimum": integer.gte if integer.HasField("gte") else None,
        "maximum": integer.lte if integer.HasField("lte") else None,
        "maxProperties": pairs.max_pairs if pairs.HasField("max_pairs") else None,
        "minItems": rules.repeated.min_items if rules.repeated.HasField("min_items") else None,
        "maxItems": rules.repeated.max_items if rules.repeated.HasField("max_items") else None,
    }
    for name, value in said.items():
        if value is not None:
            yield name, schema.get(name), value
    if pairs.keys.string.pattern:
        yield "propertyNames", schema.get("propertyNames"), {"pattern": pairs.keys.string.pattern}
    if field.enum_type:
        items = schema.get("items", schema)
        yield "enum", items.get("enum"), [value.name for value in field.enum_type.values]


def _check_message(
    document: Node, schema: Node, message: Descriptor | None, skip: set[str], depth: int = 0
) -> Iterator[str]:
    assert message is not None
    schema = _resolve(document, schema)
    for field in message.fields:
        if field.name in skip:
            continue
        found = dict(properties_of(schema)).get(field.json_name)
        if found is None:
            yield f"{field.full_name} is missing"
            continue
        options: Any = field.GetOptions()
        if options.Extensions[validate_pb2.field].required and field.json_name not in schema.get("required", []):
            yield f"{field.full_name} is not required"
        resolved = _resolve(document, found)
        yield from (
            f"{field.full_name}: {name} is {said}, not {value}"
            for name, said, value in _rules({**resolved, **found}, field)
            if said != value
        )
        inner = field.message_type
        own = inner and inner.full_name.startswith("taskhub.") and not inner.GetOptions().map_entry
        if own and depth < 3:
            yield from _check_message(document, resolved.get("items", resolved), inner, set(), depth + 1)


@EVERY_ROUTE
def test_every_rule_of_a_body_is_there(document: Node, route: contract.Route) -> None:
    in_path = route.bound and set(route.bound) == {field.name for field in route.rpc.input_type.fields}
    if not route.body or in_path:
        assert "requestBody" not in _operation(document, route)
        return
    content = _operation(document, route)["requestBody"]["content"]
    if not route.json:
        assert set(content) == set(raw.TYPES)
        return
    schema = content["application/json"]["schema"]
    message = route.rpc.input_type
    if route.body == "*":
        assert list(_check_message(document, schema, message, set(route.bound))) == []
    else:
        assert list(_check_message(document, schema, message.fields_by_name[route.body].message_type, set())) == []


@EVERY_ROUTE
def test_every_rule_of_an_address_is_there(document: Node, route: contract.Route) -> None:
    parameters = [_resolve(document, each) for each in _operation(document, route).get("parameters", [])]
    by_name = {each["name"]: _resolve(document, each["schema"]) for each in parameters if each["in"] == "query"}
    for schema in by_name.values():
        if "items" in schema:
            schema["items"] = _resolve(document, schema["items"])
    for parameter in route.parameters:
        wrong = [rule for rule in _rules(by_name[parameter.json_path], parameter.field) if rule[1] != rule[2]]
        assert wrong == []
    paths = [each["schema"] for each in parameters if each["in"] == "path"]
    assert [each.get("pattern") for each in paths] == [
        pattern for field in _bound(route) for pattern in id_patterns(field)
    ]
    assert all(each.get("pattern") for each in paths)


def _bound(route: contract.Route) -> Iterator[FieldDescriptor]:
    for variable in route.bound:
        message: Any = route.rpc.input_type
        *holders, last = variable.split(".")
        for holder in holders:
            message = message.fields_by_name[holder].message_type
        yield message.fields_by_name[last]


@EVERY_ROUTE
def test_every_answer_has_its_message(document: Node, route: contract.Route) -> None:
    success = _operation(document, route)["responses"]["200"]
    if route.rpc.output_type.full_name == contract.RAW_BODY:
        assert set(success["content"]) == set(raw.TYPES)
        assert set(raw.HEADERS) < set(success["headers"])
        return
    schema = success["content"]["application/json"]["schema"]
    problems = _check_message(document, schema, route.rpc.output_type, set())
    assert [each for each in problems if "missing" in each] == []


def test_every_error_is_there_with_its_status(document: Node) -> None:
    responses = document["components"]["responses"]
    said = {
        status: text.partition(f"- {status} ")[2].partition("\n")[0]
        if text is responses["default"]["description"]
        else text
        for status in errors.reasons()
        for text in [responses.get(str(status), responses["default"])["description"]]
    }
    for status, reasons in errors.reasons().items():
        assert [reason for reason in reasons if f"`{reason}`" not in said[status]] == []
    assert TaskHubError.reason in said[500]
    assert IdempotencyKeyReused.reason in said[422]
    assert {refusal.http for refusal in REFUSALS} <= set(said)
    assert {"QUERY_PARAMETER_UNKNOWN", "JSON_TOO_DEEP", "METHOD_NOT_ALLOWED"} <= errors.edge_reasons()


def test_every_error_has_the_one_shape(document: Node) -> None:
    for response in document["components"]["responses"].values():
        assert response["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/google.rpc.Status"}


def test_the_document_is_as_old_as_the_contract() -> None:
    if generator.find() is None:
        pytest.skip("the generator was not built: `make openapi`")
    command = [sys.executable, "-m", "deploy.gateway.openapi", "--check"]
    checked = subprocess.run(command, cwd=generator.ROOT, capture_output=True, text=True, check=False)  # noqa: S603
    assert checked.returncode == 0, checked.stderr
