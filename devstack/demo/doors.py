"""The doors of TaskHub. Each takes a method and a request as proto3 JSON, and answers the same way."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

import grpc
from google.protobuf import json_format
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pool import Default
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
TIMEOUT = 20


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: a status by its name, and the message as JSON; of a refusal its reason and fields."""

    status: str
    body: dict[str, Any]
    reason: str = ""
    fields: list[str] = field(default_factory=list)


class Door(Protocol):
    """A way in."""

    name: str

    def call(self, method: str, request: dict[str, Any], headers: dict[str, str]) -> Answer:
        """Calls `TaskService/CreateTask` and its like."""
        ...


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
        service, name = method.split("/")
        stub = getattr(import_module(MODULES[service] + "_grpc"), f"{service}Stub")(self._channel)
        messages = import_module(MODULES[service])
        message = json_format.ParseDict(request, getattr(messages, descriptor(method).input_type.name)())
        try:
            answer = getattr(stub, name)(message, metadata=tuple(headers.items()), timeout=TIMEOUT)
        except grpc.RpcError as error:
            trailers: dict[str, Any] = dict(cast("Any", error.trailing_metadata() or ()))
            status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
            return refusal(json_format.MessageToDict(status))
        return Answer("OK", json_format.MessageToDict(answer))

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
        command = [str(self._program), "curl", "--protocol", "grpc", "--http2-prior-knowledge"]
        for key, value in headers.items():
            command += ["-H", f"{key}: {value}"]
        command += ["-d", json.dumps(request), f"http://{self._address}/taskhub.v1.{method}"]
        done = _run(command)
        if done.returncode == 0:
            return Answer("OK", json.loads(done.stdout))
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
        command = [self._program, "-plaintext", "-format-error", "-emit-defaults=false", "-max-time", str(TIMEOUT)]
        for key, value in headers.items():
            command += ["-H", f"{key}: {value}"]
        command += ["-d", json.dumps(_spell_mask_out(request)), self._address, f"taskhub.v1.{method}"]
        done = _run(command)
        if done.returncode == 0:
            return Answer("OK", json.loads(done.stdout))
        return refusal(json.loads(done.stderr))


def _spell_mask_out(request: dict[str, Any]) -> dict[str, Any]:
    """Returns the request with its field mask as a message: grpcurl does not know the JSON form of one."""
    mask = request.get("updateMask")
    return request if mask is None else request | {"updateMask": {"paths": mask.split(",")}}


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)


def _number(name: str) -> int:
    number: int = grpc.StatusCode[name.upper()].value[0]
    return number
