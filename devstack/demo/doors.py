"""The doors of TaskHub. Each takes a method and a request as proto3 JSON, and answers the same way."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

import grpc
from google.protobuf import json_format
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pool import Default
from google.protobuf.message import Message
from google.rpc import (
    error_details_pb2,  # noqa: F401  registers what errors carry, to be printed as JSON
    status_pb2,
)

#: Services by name: where their descriptors and stubs are.
MODULES = {
    "AuthService": "taskhub.v1.auth_service_pb2",
    "UserService": "taskhub.v1.user_service_pb2",
    "TaskService": "taskhub.v1.task_service_pb2",
    "JobService": "taskhub.v1.job_service_pb2",
}
TIMEOUT = 60


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: a status by its name, and the message as JSON; of a refusal its reason and fields."""

    status: str
    body: dict[str, Any]
    reason: str = ""
    fields: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class File:
    """What is uploaded."""

    content_type: str
    data: bytes

    def messages(self, request: dict[str, Any]) -> list[dict[str, Any]]:
        """Returns the messages of an upload as JSON: the file in three pieces, and what is said of it in the first."""
        size = len(self.data) // 3 + 1
        pieces = [self.data[start : start + size] for start in range(0, len(self.data), size)] or [b""]
        found: list[dict[str, Any]] = [{"body": {"data": base64.b64encode(piece).decode()}} for piece in pieces]
        found[0]["body"]["contentType"] = self.content_type
        return [request | found[0], *found[1:]]


def whole(messages: list[dict[str, Any]]) -> Answer:
    """Returns the pieces of a download, as JSON, in one."""
    data = b"".join(base64.b64decode(message.get("data", "")) for message in messages)
    # grpcurl keeps proto names here.
    kinds = "".join(message.get("contentType") or message.get("content_type", "") for message in messages)
    return Answer("OK", {"contentType": kinds, "data": data.decode()})


class Door(Protocol):
    """A way in."""

    name: str

    def call(self, method: str, request: dict[str, Any], headers: dict[str, str]) -> Answer:
        """Calls `TaskService/CreateTask` and its like."""
        ...

    def upload(self, method: str, request: dict[str, Any], file: File, headers: dict[str, str]) -> Answer:
        """Sends a file to `TaskService/ImportTasks` and its like; `request` is what is said beside it."""
        ...

    def download(self, method: str, request: dict[str, Any], headers: dict[str, str]) -> Answer:
        """Fetches a file from `JobService/ReadJobResult` and its like: whole, as one `google.api.HttpBody`."""
        ...


#: Makes an answer of the messages that came back, as JSON.
Read = Callable[[list[dict[str, Any]]], Answer]


def descriptor(method: str) -> MethodDescriptor:
    """Returns what the contract says of `TaskService/CreateTask` and its like."""
    service, name = method.split("/")
    import_module(MODULES[service])
    found = Default().FindServiceByName(f"taskhub.v1.{service}")
    descriptor: MethodDescriptor = found.methods_by_name[name]
    return descriptor


def refusal(status: dict[str, Any]) -> Answer:
    """Returns what a google.rpc.Status, as JSON, says."""
    name = grpc_code(status["code"])
    reason, fields = "", []
    for detail in status.get("details", []):
        kind = detail["@type"].rpartition(".")[2]
        if kind == "ErrorInfo":
            reason = detail["reason"]
        elif kind == "BadRequest":
            violations = detail.get("fieldViolations") or detail["field_violations"]  # grpcurl keeps proto names here
            fields = [violation["field"] for violation in violations]
    return Answer(name, status, reason, fields)


def grpc_code(number: int) -> str:
    """Returns the name of a status code."""
    return next(code.name for code in grpc.StatusCode if code.value[0] == number)


class StubDoor:
    """Typed stubs, as internal services use them."""

    name = "typed stub (Python)"

    def __init__(self, address: str) -> None:
        self._channel = grpc.insecure_channel(address)

    def call(self, method: str, request: dict[str, Any], headers: dict[str, str]) -> Answer:
        """Calls through the generated stub."""
        return self._tried(lambda: _one(self._send(method, headers, request)))

    def upload(self, method: str, request: dict[str, Any], file: File, headers: dict[str, str]) -> Answer:
        """Sends messages, one after the other."""
        return self._tried(lambda: _one(self._send(method, headers, *file.messages(request))))

    def download(self, method: str, request: dict[str, Any], headers: dict[str, str]) -> Answer:
        """Reads messages, one after the other."""
        return self._tried(
            lambda: whole([json_format.MessageToDict(each) for each in self._send(method, headers, request)])
        )

    def _send(self, method: str, headers: dict[str, str], *requests: dict[str, Any]) -> Any:
        service, name = method.split("/")
        stub = getattr(import_module(MODULES[service] + "_grpc"), f"{service}Stub")(self._channel)
        kind = getattr(import_module(MODULES[service]), descriptor(method).input_type.name)
        messages = [json_format.ParseDict(request, kind()) for request in requests]
        sent = iter(messages) if descriptor(method).client_streaming else messages[0]
        return getattr(stub, name)(sent, metadata=tuple(headers.items()), timeout=TIMEOUT)

    def _tried(self, call: Callable[[], Answer]) -> Answer:
        try:
            return call()
        except grpc.RpcError as error:
            trailers: dict[str, Any] = dict(cast("Any", error.trailing_metadata() or ()))
            status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
            return refusal(json_format.MessageToDict(status))

    def close(self) -> None:
        """Lets the connection go."""
        self._channel.close()


class BufDoor:
    """`buf curl`: reflection alone, nothing generated."""

    name = "buf curl (reflection)"

    def __init__(self, address: str) -> None:
        self._address = address
        self._program = Path(sys.executable).with_name("buf")

    def call(self, method: str, request: dict[str, Any], headers: dict[str, str]) -> Answer:
        """Runs the program once."""
        return self._answer(method, headers, [request], lambda answers: Answer("OK", answers[0]))

    def upload(self, method: str, request: dict[str, Any], file: File, headers: dict[str, str]) -> Answer:
        """Runs it with one message after the other."""
        return self._answer(method, headers, file.messages(request), lambda answers: Answer("OK", answers[0]))

    def download(self, method: str, request: dict[str, Any], headers: dict[str, str]) -> Answer:
        """Runs it, and puts together what it prints."""
        return self._answer(method, headers, [request], whole)

    def _answer(self, method: str, headers: dict[str, str], requests: list[dict[str, Any]], read: Read) -> Answer:
        command = [str(self._program), "curl", "--protocol", "grpc", "--http2-prior-knowledge"]
        for key, value in headers.items():
            command += ["-H", f"{key}: {value}"]
        command += ["-d", _lines(requests), f"http://{self._address}/taskhub.v1.{method}"]
        done = _run(command)
        if done.returncode == 0:
            return read(_printed(done.stdout))
        error = json.loads(done.stderr)
        status = status_pb2.Status(code=_number(error["code"]), message=error.get("message", ""))
        for detail in error.get("details", []):
            packed = status.details.add(type_url=f"type.googleapis.com/{detail['type']}")
            packed.value = base64.b64decode(detail["value"] + "==")
        return refusal(json_format.MessageToDict(status))


class GrpcurlDoor:
    """grpcurl, where it is on PATH: reflection alone, too."""

    name = "grpcurl (reflection)"

    def __init__(self, address: str, program: str = "grpcurl") -> None:
        self._address = address
        self._program = program

    def call(self, method: str, request: dict[str, Any], headers: dict[str, str]) -> Answer:
        """Runs the program once."""
        return self._answer(method, headers, [_spell_mask_out(request)], lambda answers: Answer("OK", answers[0]))

    def upload(self, method: str, request: dict[str, Any], file: File, headers: dict[str, str]) -> Answer:
        """Runs it with one message after the other."""
        return self._answer(method, headers, file.messages(request), lambda answers: Answer("OK", answers[0]))

    def download(self, method: str, request: dict[str, Any], headers: dict[str, str]) -> Answer:
        """Runs it, and puts together what it prints."""
        return self._answer(method, headers, [request], whole)

    def _answer(self, method: str, headers: dict[str, str], requests: list[dict[str, Any]], read: Read) -> Answer:
        command = [self._program, "-plaintext", "-format-error", "-emit-defaults=false", "-max-time", str(TIMEOUT)]
        for key, value in headers.items():
            command += ["-H", f"{key}: {value}"]
        command += ["-d", _lines(requests), self._address, f"taskhub.v1.{method}"]
        done = _run(command)
        if done.returncode == 0:
            return read(_printed(done.stdout))
        return refusal(json.loads(done.stderr))


def _spell_mask_out(request: dict[str, Any]) -> dict[str, Any]:
    """Returns the request with its field mask as a message: grpcurl does not know the JSON form of one."""
    mask = request.get("updateMask")
    return request if mask is None else request | {"updateMask": {"paths": mask.split(",")}}


def _one(answer: Message) -> Answer:
    return Answer("OK", json_format.MessageToDict(answer))


def _lines(requests: list[dict[str, Any]]) -> str:
    return "\n".join(map(json.dumps, requests))


def _printed(text: str) -> list[dict[str, Any]]:
    """Returns the messages that a program has printed, one after the other."""
    found, decoder, text = [], json.JSONDecoder(), text.strip()
    while text:
        message, end = decoder.raw_decode(text)
        found.append(message)
        text = text[end:].strip()
    return found


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)


def _number(name: str) -> int:
    number: int = grpc.StatusCode[name.upper()].value[0]
    return number
