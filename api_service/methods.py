"""What the contract says of each RPC, read from its descriptor."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor import FileDescriptor, MethodDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions
from google.protobuf.message import Message
from taskhub.v1 import (
    auth_service_pb2,
    job_service_pb2,
    options_pb2,
    service_account_service_pb2,
    task_service_pb2,
    user_service_pb2,
)
from taskhub.v1.options_pb2 import RateLimit

FILES: tuple[FileDescriptor, ...] = (
    auth_service_pb2.DESCRIPTOR,
    user_service_pb2.DESCRIPTOR,
    service_account_service_pb2.DESCRIPTOR,
    task_service_pb2.DESCRIPTOR,
    job_service_pb2.DESCRIPTOR,
)


@dataclass(frozen=True, slots=True)
class Method:
    """One RPC: its names, its access rule, and whether a repeated call could do something twice."""

    path: str  # "/taskhub.v1.TaskService/CreateTask", as it travels in HTTP/2
    service: str
    name: str
    access: options_pb2.AccessRule
    rate: options_pb2.RateLimit.Class
    mutation: bool
    takes_key: bool
    request: type[Message]
    response: type[Message]
    #: Whether the caller sends a stream of requests, and whether it is answered with one.
    client_streaming: bool
    server_streaming: bool


class AccessRuleMissingError(Exception):
    """An RPC has no access rule."""


def methods(files: Iterable[FileDescriptor] = FILES) -> Iterator[Method]:
    """Yields every RPC of `files`. Raises AccessRuleMissingError for one that nobody decided who may call."""
    for file in files:
        for service in file.services_by_name.values():
            yield from (_method(method) for method in service.methods)


def _method(descriptor: MethodDescriptor) -> Method:
    options: Any = descriptor.GetOptions()
    service = descriptor.containing_service.full_name
    access = options.Extensions[options_pb2.access]
    wants_scope = access.kind == options_pb2.AccessRule.SCOPE
    if access.kind == options_pb2.AccessRule.KIND_UNSPECIFIED or wants_scope != bool(access.scope):
        raise AccessRuleMissingError(f"{service}/{descriptor.name} declares no complete access rule")
    mutation = options.idempotency_level != MethodOptions.NO_SIDE_EFFECTS
    return Method(
        path=f"/{service}/{descriptor.name}",
        service=service,
        name=descriptor.name,
        access=access,
        rate=options.Extensions[options_pb2.rate_limit] or (RateLimit.WRITE if mutation else RateLimit.READ),
        mutation=mutation,
        takes_key=mutation and not options.Extensions[options_pb2.ignores_idempotency_key],
        request=message_factory.GetMessageClass(descriptor.input_type),
        response=message_factory.GetMessageClass(descriptor.output_type),
        client_streaming=descriptor.client_streaming,
        server_streaming=descriptor.server_streaming,
    )
