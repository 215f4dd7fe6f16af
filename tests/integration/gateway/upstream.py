"""An API for the gateway's tests, as a process: it answers every RPC of the contract, and says what it was told.

Run as `python -m tests.integration.gateway.upstream PORT`.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc
from google.api import httpbody_pb2
from google.protobuf import any_pb2, duration_pb2, json_format, message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from taskhub.v1 import job_pb2, task_pb2, task_service_pb2

from deploy.gateway import contract

BROKEN = b"\xff"
#: What streams wait for.
GO = asyncio.Semaphore(0)
CODES = {code.value[0]: code for code in grpc.StatusCode}


class Echo(grpc.GenericRpcHandler):
    """Serves every method; some names of tasks and jobs ask for more than an empty answer."""

    def __init__(self) -> None:
        self._methods = {
            f"/{service.full_name}/{method.name}": method
            for service in contract.services()
            for method in service.methods
        }

    def service(self, details: Any) -> Any:
        """Returns the handler of a call."""
        method = self._methods.get(details.method)
        if method is None:
            return None
        parse = message_factory.GetMessageClass(method.input_type).FromString
        if method.client_streaming:
            return grpc.stream_unary_rpc_method_handler(_swallow, parse, _bytes)
        if method.output_type.full_name == contract.RAW_BODY:
            return grpc.unary_stream_rpc_method_handler(_download, parse, _bytes)
        if method.name == "WatchTasks":
            return grpc.unary_stream_rpc_method_handler(_watch, parse, _bytes)
        if method.server_streaming:
            return grpc.unary_stream_rpc_method_handler(self._stream(method), parse, _bytes)
        return grpc.unary_unary_rpc_method_handler(self._handler(method), parse, _bytes)

    def _stream(self, method: MethodDescriptor) -> Any:
        answer = self._handler(method)

        async def handle(request: Any, context: Any) -> AsyncIterator[Message]:
            yield await answer(request, context)

        return handle

    def _handler(self, method: MethodDescriptor) -> Any:
        async def handle(request: Any, context: Any) -> Message:
            metadata = {**dict(context.invocation_metadata()), "remaining": str(context.time_remaining())}
            seen = (("x-seen-method", method.name), ("x-seen-request", json.dumps(str(request))[:4000]))
            if method.name == "GetTask":
                await _misbehave(request.name.removeprefix("tasks/"), context)
                await context.send_initial_metadata((*seen, ("idempotency-replayed", "true")))
                return task_pb2.Task(name=request.name, description=json.dumps(metadata))
            await context.send_initial_metadata(seen)
            match request:
                case task_service_pb2.ListTasksRequest():
                    return task_service_pb2.ListTasksResponse(
                        tasks=[task_pb2.Task(description="x" * 10_000)] * request.page_size
                    )
                case task_service_pb2.CreateTaskRequest():
                    return task_pb2.Task(description=str(len(request.task.description)))
                case _ if method.name == "GetJob":
                    return _nested(int(request.name.removeprefix("jobs/")))
                case _:
                    return message_factory.GetMessageClass(method.output_type)()

        return handle


async def _swallow(requests: Any, context: Any) -> Message:
    """Tells what a stream of requests held: the first message, how many there were, and how many bytes."""
    metadata = dict(context.invocation_metadata())
    first, number, size = None, 0, 0
    async for request in requests:
        first, number, size = first or request, number + 1, size + len(request.body.data)
        if size > 50 * 1024 * 1024:
            await context.abort(CODES[3], "It failed.", (_details(3, "BODY_TOO_LARGE"),))
    if first is not None:
        first.body.ClearField("data")
    await context.send_initial_metadata(
        (("x-seen-method", "ImportTasks"), ("x-seen-timeout", str("grpc-timeout" in metadata)))
    )
    told = {"first": json_format.MessageToDict(first) if first else None, "bytes": size, "several": number > 1}
    return job_pb2.Job(name=json.dumps(told))


async def _download(request: Any, context: Any) -> AsyncIterator[Message | bytes]:
    """Answers with as many bytes as the name says; half of them, where it says so."""
    size, _, half = request.name.removeprefix("jobs/").partition("-")
    await context.send_initial_metadata(
        (
            ("x-seen-method", "ReadJobResult"),
            ("content-disposition", 'attachment; filename="x.csv"'),
            ("repr-digest", "sha-256=:AAAA:"),
            ("x-taskhub-length", size),
        )
    )
    left = int(size)
    message = httpbody_pb2.HttpBody(content_type="text/csv")
    while left > 0:
        message.data = b"x" * min(left, 256 * 1024)
        left -= len(message.data)
        yield message
        if half:
            yield BROKEN
            await context.abort(CODES[14], "It failed.", (_details(14, "SOME_REASON"),))
        message = httpbody_pb2.HttpBody()


async def _watch(request: Any, context: Any) -> AsyncIterator[Message]:
    """Heartbeats, one for each kind that is asked for, the next at each `go`; then an end, as message and status."""
    if request.task:
        await context.abort(CODES[5], "It failed.", (_details(5, "GONE"),))
    await context.send_initial_metadata((("x-seen-method", "WatchTasks"),))
    for kind in request.kinds:
        yield task_service_pb2.WatchTasksResponse(heartbeat={}, resume_token=kind)
        await GO.acquire()
    status = _status(14, "SERVER_DRAINING")
    yield task_service_pb2.WatchTasksResponse(end={"status": status})
    await context.abort(CODES[14], "It failed.", (_details(14, "SERVER_DRAINING"),))


async def _misbehave(wish: str, context: Any) -> None:
    """Obeys names such as `fail-14`, `fail-3-IDEMPOTENCY_KEY_REUSED`, `late-3-…`, `go`, `sleep` and `die`."""
    kind, *rest = wish.split("-")
    if kind == "go":
        GO.release()
    if kind == "sleep":
        await asyncio.sleep(600)
    if kind == "die":
        os._exit(1)
    if kind in {"fail", "late"}:
        code, reason = int(rest[0]), rest[1] if len(rest) > 1 else "SOME_REASON"
        if kind == "late":
            # Not trailers-only any more: what follows is lost to REST, but for the status.
            await context.send_initial_metadata((("x-request-id", "api"),))
        trailing = (
            _details(code, reason),
            ("x-taskhub-http-status", "422" if reason == "IDEMPOTENCY_KEY_REUSED" else ""),
        )
        await context.abort(CODES[code], "It failed.", trailing)


def _details(code: int, reason: str) -> tuple[str, bytes]:
    return "grpc-status-details-bin", _status(code, reason).SerializeToString()


def _status(code: int, reason: str) -> status_pb2.Status:
    status = status_pb2.Status(code=code, message="It failed.")
    for detail in (
        error_details_pb2.ErrorInfo(reason=reason, domain="taskhub", metadata={"task": "tasks/1"}),
        error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=2, nanos=500_000_000)),
    ):
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    return status


def _nested(depth: int) -> job_pb2.Job:
    job = job_pb2.Job()
    inner = job.args
    for _ in range(depth):
        inner = inner.get_or_create_struct("a")
    return job


def _bytes(message: Message | bytes) -> bytes:
    if isinstance(message, bytes):
        return message
    return message.SerializeToString()


async def serve(port: int) -> None:
    """Serves until SIGTERM; SIGUSR1 and SIGUSR2 turn health to NOT_SERVING and back."""
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", 16 * 1024 * 1024)])
    servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    server.add_generic_rpc_handlers((Echo(),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    states = health_pb2.HealthCheckResponse
    await servicer.set("", states.SERVING)
    loop, done, turns = asyncio.get_running_loop(), asyncio.Event(), set[asyncio.Task[None]]()

    def turn(state: Any) -> None:
        turns.add(loop.create_task(servicer.set("", state)))

    loop.add_signal_handler(signal.SIGUSR1, turn, states.NOT_SERVING)
    loop.add_signal_handler(signal.SIGUSR2, turn, states.SERVING)
    loop.add_signal_handler(signal.SIGTERM, done.set)
    await server.start()
    await done.wait()
    await server.stop(0)


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
