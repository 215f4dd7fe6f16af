"""Health and reflection, which anybody may ask, and ask badly."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse

from tests.support.api import Api, refusal
from tests.support.servers import PATIENCE

CHECK, WATCH = "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
V1 = REFLECTION.replace("v1alpha", "v1")
SERVING = HealthCheckResponse(status=HealthCheckResponse.SERVING).SerializeToString()


def call(api: Api, path: str, *messages: bytes) -> Iterator[bytes]:
    """Sends messages and ends; to the wire every method is a stream."""
    stream: Any = api.channel.stream_stream(path)
    return stream(iter(messages), timeout=PATIENCE)  # type: ignore[no-any-return]


def refused(api: Api, path: str, *messages: bytes) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        list(call(api, path, *messages))
    found = refusal(caught.value)
    return found.code, found.reason


@pytest.mark.parametrize("path", [CHECK, WATCH, REFLECTION, V1])
def test_bytes_that_are_no_message_are_the_callers_fault(api: Api, path: str) -> None:
    for bad in (b"\xff", b"\x0a\xff\xff\xff\xff", b"\x0a\x01\xff", b"\x1a\x01\xff"):
        if path in (CHECK, WATCH) and bad == b"\x1a\x01\xff":  # a field that they do not know
            continue
        assert refused(api, path, bad) == (grpc.StatusCode.INVALID_ARGUMENT, "MESSAGE_MALFORMED")


@pytest.mark.parametrize("path", [CHECK, WATCH])
def test_no_message_at_all_is_malformed(api: Api, path: str) -> None:
    assert refused(api, path) == (grpc.StatusCode.INVALID_ARGUMENT, "MESSAGE_MALFORMED")


def test_health_tells_of_every_service_and_of_no_other(api: Api) -> None:
    for service in ("", "taskhub.v1.TaskService", "taskhub.v1.AuthService"):
        assert list(call(api, CHECK, HealthCheckRequest(service=service).SerializeToString())) == [SERVING]
    unknown = HealthCheckRequest(service="taskhub.v1.Nothing").SerializeToString()
    assert refused(api, CHECK, unknown) == (grpc.StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND")
    first = next(call(api, WATCH, unknown))
    assert HealthCheckResponse.FromString(first).status == HealthCheckResponse.SERVICE_UNKNOWN


@pytest.mark.parametrize("path", [REFLECTION, V1])
def test_reflection_answers_what_is_asked_on_one_stream(api: Api, path: str) -> None:
    questions = [
        ServerReflectionRequest(list_services=""),
        ServerReflectionRequest(file_containing_symbol="taskhub.v1.TaskService"),
        ServerReflectionRequest(file_containing_symbol="taskhub.v1.Nothing"),
        ServerReflectionRequest(),
    ]
    answers = map(ServerReflectionResponse.FromString, call(api, path, *(q.SerializeToString() for q in questions)))
    services, found, missing, empty = answers
    assert "taskhub.v1.TaskService" in {each.name for each in services.list_services_response.service}
    names = [FileDescriptorProto.FromString(f).name for f in found.file_descriptor_response.file_descriptor_proto]
    assert "taskhub/v1/task_service.proto" in names
    assert missing.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]
    assert empty.error_response.error_code == grpc.StatusCode.INVALID_ARGUMENT.value[0]


def test_only_so_many_watch_at_a_time(api: Api) -> None:
    request = HealthCheckRequest().SerializeToString()
    with ExitStack() as stack:
        # As many on each as a connection carries; two processes have these five between them.
        channels = [stack.enter_context(api.connect()) for _ in range(5)]
        watches: list[Any] = [channel.unary_stream(WATCH) for channel in channels for _ in range(205)]
        watching = [watch(request, timeout=PATIENCE) for watch in watches]
        codes = []
        for each in watching:
            try:
                next(each)
            except grpc.RpcError as error:
                codes.append(refusal(error).reason)
        assert set(codes) == {"STREAMS_EXHAUSTED"}
        check: Any = channels[0].unary_unary(CHECK)
        assert check(request, timeout=PATIENCE) == SERVING, "others are served"
        for each in watching:
            each.cancel()
