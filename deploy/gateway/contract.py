"""The contract as the gateway needs it: the descriptor set for the transcoder, and the routes for its refusals.

Both come from the generated stubs when the configuration is rendered, so that nothing can go stale.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import taskhub.v1
from google.api import annotations_pb2, http_pb2
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor, MethodDescriptor, ServiceDescriptor
from google.rpc import error_details_pb2, status_pb2

RAW_BODY = "google.api.HttpBody"
#: Messages whose JSON is one string or number, which a query parameter can therefore hold.
SCALAR_MESSAGES = frozenset({
    "google.protobuf.Timestamp", "google.protobuf.Duration", "google.protobuf.FieldMask",
    "google.protobuf.BoolValue", "google.protobuf.BytesValue", "google.protobuf.DoubleValue",
    "google.protobuf.FloatValue", "google.protobuf.Int32Value", "google.protobuf.Int64Value",
    "google.protobuf.StringValue", "google.protobuf.UInt32Value", "google.protobuf.UInt64Value",
})  # fmt: skip
#: A path template's variable, `{name}` or `{name=pattern}`.
VARIABLE = re.compile(r"\{([^=}]+)(?:=([^}]*))?\}")


@dataclass(frozen=True)
class Parameter:
    """A field that the query of a request can give."""

    field: FieldDescriptor
    #: From the request message: `filter.owner`.
    path: str
    json_path: str

    def within(self, holder: FieldDescriptor) -> Parameter:
        """Returns the same field as the message that holds `holder` sees it."""
        return Parameter(self.field, f"{holder.name}.{self.path}", f"{holder.json_name}.{self.json_path}")


@dataclass(frozen=True)
class Route:
    """One binding of an RPC to a verb and a path."""

    rpc: MethodDescriptor
    verb: str
    template: str
    #: `*`, the name of a field, or empty when the body says nothing.
    body: str

    @property
    def bound(self) -> tuple[str, ...]:
        """Field paths that the path template fills in."""
        return tuple(variable for variable, _ in VARIABLE.findall(self.template))

    @property
    def call(self) -> str:
        """The path of the gRPC call that the transcoder makes of it."""
        return f"/{self.rpc.containing_service.full_name}/{self.rpc.name}"

    @property
    def path(self) -> str:
        """The template with its variables written out: `/v1/tasks/*:start`."""
        return VARIABLE.sub(lambda match: match.group(2) or "*", self.template)

    @property
    def body_type(self) -> str | None:
        """The full name of the message or scalar in the body; None where the body says nothing."""
        if self.body in {"", "*"}:
            return self.rpc.input_type.full_name if self.body else None
        field = self.rpc.input_type.fields_by_name[self.body]
        return field.message_type.full_name if field.message_type else field.name

    @property
    def json(self) -> bool:
        """Whether the body is JSON: not absent, and not bytes of any kind."""
        return self.body_type not in {None, RAW_BODY}

    @property
    def parameters(self) -> list[Parameter]:
        """Query parameters that the route takes."""
        if self.body == "*":
            return []
        return list(_parameters(self.rpc.input_type, {*self.bound, self.body}))


def services() -> list[ServiceDescriptor]:
    """Returns every service of package taskhub.v1."""
    return [service for file in _own_files() for service in file.services_by_name.values()]


def routes() -> list[Route]:
    """Returns every route of every service, in the order of the contract."""
    return [
        Route(rpc, *binding)
        for service in services()
        for rpc in service.methods
        for binding in _bindings(rpc.GetOptions().Extensions[annotations_pb2.http])
    ]


def descriptor_set() -> bytes:
    """Returns the contract and all that it imports, each file after the files that it needs.

    The details of google.rpc.Status are Any messages, and the transcoder prints only types that it knows.
    """
    result = descriptor_pb2.FileDescriptorSet()
    seen: set[str] = set()
    for file in (status_pb2.DESCRIPTOR, error_details_pb2.DESCRIPTOR, *_own_files()):
        _collect(file, seen, result)
    return result.SerializeToString(deterministic=True)


def _own_files() -> list[FileDescriptor]:
    names = sorted(module.name for module in pkgutil.iter_modules(taskhub.v1.__path__) if module.name.endswith("_pb2"))
    return [importlib.import_module(f"taskhub.v1.{name}").DESCRIPTOR for name in names]


def _collect(file: FileDescriptor, seen: set[str], result: descriptor_pb2.FileDescriptorSet) -> None:
    if file.name in seen:
        return
    seen.add(file.name)
    for imported in file.dependencies:
        _collect(imported, seen, result)
    file.CopyToProto(result.file.add())


def _bindings(rule: http_pb2.HttpRule) -> Iterator[tuple[str, str, str]]:
    for binding in (rule, *rule.additional_bindings):
        verb = binding.WhichOneof("pattern")
        if verb is None or verb == "custom":
            raise ValueError(f"a google.api.http rule without a plain verb: {binding}")
        yield verb.upper(), getattr(binding, verb), binding.body


def _parameters(message: Descriptor, taken: Iterable[str]) -> Iterator[Parameter]:
    """Walks the fields that neither path nor body holds; of a field that the path fills in part, the rest."""
    for field in message.fields:
        if field.name in taken:
            continue
        if field.message_type is None or field.message_type.full_name in SCALAR_MESSAGES:
            yield Parameter(field, field.name, field.json_name)
        elif not field.is_repeated and not field.message_type.full_name.startswith("google."):
            rest = {path.partition(".")[2] for path in taken if path.startswith(f"{field.name}.")}
            for parameter in _parameters(field.message_type, rest):
                yield parameter.within(field)
