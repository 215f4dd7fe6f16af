from __future__ import annotations

from typing import Any

import grpc
import pytest
from taskhub.v1 import task_service_pb2, task_service_pb2_grpc

from tests.integration.gateway.running import Gateway
from tests.support.servers import PATIENCE

DEEP = '{"a":' * 33 + "1" + "}" * 33

Refused = tuple[str, str, int, int, str, str | None]

QUERIES: list[Refused] = [
    ("GET", "/v1/tasks?foo=1", 400, 3, "QUERY_PARAMETER_UNKNOWN", "foo"),
    ("GET", "/v1/tasks?%66oo=1", 400, 3, "QUERY_PARAMETER_UNKNOWN", "foo"),
    ("GET", "/v1/tasks?pageSize", 400, 3, "QUERY_PARAMETER_MALFORMED", "page_size"),
    ("GET", "/v1/tasks?pageSize=x", 400, 3, "FIELD_INVALID", "page_size"),
    ("GET", "/v1/tasks?showDeleted=maybe", 400, 3, "FIELD_INVALID", "show_deleted"),
    ("GET", "/v1/tasks?pageSize=1&page_size=2", 400, 3, "QUERY_PARAMETER_REPEATED", "page_size"),
    ("GET", "/v1/tasks?pageToken=%FF", 400, 3, "QUERY_PARAMETER_MALFORMED", "page_token"),
    ("GET", "/v1/tasks?pageToken=%ED%A0%80", 400, 3, "QUERY_PARAMETER_MALFORMED", "page_token"),
    ("GET", "/v1/tasks/1?name=tasks/2", 400, 3, "QUERY_PARAMETER_UNKNOWN", "name"),
    ("POST", "/v1/auth:login?password=x", 400, 3, "QUERY_PARAMETER_UNKNOWN", "password"),
    ("POST", "/v1/auth:login?%70assword=x", 400, 3, "QUERY_PARAMETER_UNKNOWN", "password"),
    ("PATCH", "/v1/tasks/1?task.title=x", 400, 3, "QUERY_PARAMETER_UNKNOWN", "task.title"),
]
PATHS: list[Refused] = [
    ("GET", "/v1/nothing", 404, 5, "ROUTE_NOT_FOUND", None),
    ("GET", "/", 404, 5, "ROUTE_NOT_FOUND", None),
    ("GET", "/v1/tasks/", 404, 5, "ROUTE_NOT_FOUND", None),
    ("GET", "/v1/tasks/1:foo", 404, 5, "ROUTE_NOT_FOUND", None),
    ("POST", "/v1/tasks/1:foo", 404, 5, "ROUTE_NOT_FOUND", None),
    ("GET", "/v1/tasks/1:start", 405, 12, "METHOD_NOT_ALLOWED", None),
    ("PUT", "/v1/tasks/1", 405, 12, "METHOD_NOT_ALLOWED", None),
    ("OPTIONS", "/v1/tasks", 405, 12, "METHOD_NOT_ALLOWED", None),
    ("GET", "/v1/tasks/%FF", 400, 3, "PATH_MALFORMED", "path"),
    ("GET", "/v1/tasks/a%2Fb", 400, 3, "REQUEST_MALFORMED", None),
    ("POST", "/taskhub.v1.TaskService/GetTask", 404, 5, "ROUTE_NOT_FOUND", None),
    ("GET", "/grpc.health.v1.Health/Check", 404, 5, "ROUTE_NOT_FOUND", None),
]
BODIES = [
    ("/v1/tasks", "{", 400, "JSON_MALFORMED", "body"),
    ("/v1/tasks", "[]", 400, "JSON_MALFORMED", "body"),
    ("/v1/tasks", "{} {}", 400, "JSON_MALFORMED", "body"),
    ("/v1/tasks", b'{"title":"\xff"}', 400, "JSON_MALFORMED", "body"),
    ("/v1/tasks", r'{"title":"\ud800"}', 400, "JSON_MALFORMED", "body"),
    ("/v1/tasks", DEEP, 400, "JSON_TOO_DEEP", "body"),
    ("/v1/tasks", '"x"', 400, "FIELD_INVALID", "task"),
    ("/v1/tasks", '{"title":5}', 400, "FIELD_INVALID", "task.title"),
    ("/v1/tasks", '{"title":{"a":1}}', 400, "FIELD_INVALID", "task.title"),
    ("/v1/tasks", '{"title":"a","title":"b"}', 400, "FIELD_INVALID", "task.title"),
    ("/v1/tasks", '{"priority":"NOPE"}', 400, "FIELD_INVALID", "task.priority"),
    ("/v1/tasks", '{"labels":[1]}', 400, "FIELD_INVALID", "task.labels"),
    ("/v1/tasks", '{"dueTime":"tomorrow"}', 400, "FIELD_INVALID", "task.due_time"),
    ("/v1/tasks/1:start", '{"name":"tasks/2"}', 400, "FIELD_CONTRADICTS_PATH", "name"),
]


@pytest.mark.parametrize(("verb", "path", "status", "code", "reason", "field"), QUERIES + PATHS)
def test_a_bad_address_is_refused_by_name(
    gateway: Gateway, verb: str, path: str, status: int, code: int, reason: str, field: str | None
) -> None:
    answer = gateway.ask(verb, path)
    assert (answer.status, answer.json["code"], answer.reason, answer.field) == (status, code, reason, field)


@pytest.mark.parametrize(("path", "body", "status", "reason", "field"), BODIES)
def test_a_bad_body_is_refused_by_name(
    gateway: Gateway, path: str, body: str | bytes, status: int, reason: str, field: str
) -> None:
    answer = gateway.ask("POST", path, body)
    assert (answer.status, answer.json["code"], answer.reason, answer.field) == (status, 3, reason, field)


def test_a_wrong_verb_is_told_the_right_ones(gateway: Gateway) -> None:
    assert gateway.ask("PUT", "/v1/tasks/1").headers["allow"] == "GET, PATCH, DELETE"


@pytest.mark.parametrize(
    "kind", ["", "text/plain", "application/x-www-form-urlencoded", "application/grpc-web", "application/grpc-web+json"]
)
def test_a_body_that_is_not_said_to_be_json_is_refused(gateway: Gateway, kind: str) -> None:
    answer = gateway.ask("POST", "/v1/tasks", "{}", content_type=kind)
    assert (answer.status, answer.reason, answer.field) == (415, "CONTENT_TYPE_UNSUPPORTED", "content-type")


@pytest.mark.parametrize("kind", ["application/grpc-web", "application/grpc-web-text"])
def test_grpc_web_finds_no_route(gateway: Gateway, kind: str) -> None:
    answer = gateway.ask("POST", "/taskhub.v1.TaskService/GetTask", b"\0\0\0\0\0", content_type=kind)
    assert (answer.status, answer.json["code"], answer.reason) == (404, 5, "ROUTE_NOT_FOUND")


def test_a_body_that_is_compressed_is_refused(gateway: Gateway) -> None:
    answer = gateway.ask("POST", "/v1/tasks", "{}", content_encoding="gzip")
    assert (answer.status, answer.reason, answer.field) == (415, "CONTENT_ENCODING_UNSUPPORTED", "content-encoding")


def test_a_body_where_none_is_taken_is_refused(gateway: Gateway) -> None:
    answer = gateway.ask("DELETE", "/v1/tasks/1", '{"etag":"x"}')
    assert (answer.status, answer.reason, answer.field) == (400, "BODY_UNEXPECTED", "body")


def test_a_body_in_bounds_passes(gateway: Gateway) -> None:
    for body in ("{}", '{"unknown":{"x":[1]}}', DEEP[5:-1], '{"title":"{[\\"{[' + "{" * 40 + '"}'):
        assert gateway.ask("POST", "/v1/tasks", body).status == 200, body
    assert gateway.ask("POST", "/v1/tasks/1:start").status == 200
    assert gateway.ask("POST", "/v1/tasks", "{}", content_type="application/json; charset=utf-8").status == 200


@pytest.mark.parametrize(
    ("raw", "status", "reason"),
    [
        (b"NONSENSE\r\n\r\n", 400, "REQUEST_MALFORMED"),
        (b"GET /v1/tasks HTTP/1.1\r\nHost: a\r\nx_y: 1\r\n\r\n", 400, "REQUEST_MALFORMED"),
        (b"GET /v1/tasks HTTP/1.1\r\nHost: a\r\nx: " + b"y" * 70_000 + b"\r\n\r\n", 431, "HEADERS_TOO_LARGE"),
        (b"GET /v1/tasks HTTP/1.1\r\nHost: a\r\n" + b"x: y\r\n" * 120 + b"\r\n", 431, "HEADERS_TOO_LARGE"),
        (b"GET /v1/tasks HTTP/1.1\r\nHost: a\r\nauthorization: " + b"y" * 7000 + b"\r\n\r\n", 431, "HEADERS_TOO_LARGE"),
        (b"GET /v1/tasks HTTP/1.0\r\nHost: a\r\n\r\n", 426, "PROTOCOL_UNSUPPORTED"),
        (
            b"GET /v1/tasks HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
            403,
            "PROTOCOL_UNSUPPORTED",
        ),
        (
            b"POST /v1/tasks HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
            501,
            "TRANSFER_ENCODING_UNSUPPORTED",
        ),
    ],
)
def test_a_request_that_is_not_http_is_refused_in_the_same_shape(
    gateway: Gateway, raw: bytes, status: int, reason: str
) -> None:
    answer = gateway.send(raw)
    assert (answer.status, answer.json["code"], answer.reason) == (status, 3, reason)


def test_grpc_is_sent_to_its_own_port(gateway: Gateway) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{gateway.port}") as channel:
        stub: Any = task_service_pb2_grpc.TaskServiceStub(channel)  # type: ignore[no-untyped-call]
        with pytest.raises(grpc.RpcError) as caught:
            stub.GetTask(task_service_pb2.GetTaskRequest(name="tasks/1"), timeout=PATIENCE)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "REST" in str(caught.value.details())
