"""Every failure becomes one of our errors, and every error one shape: google.rpc.Status with ErrorInfo (AIP-193)."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import psycopg
import structlog
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

from api_service.call import Call
from api_service.interceptors.steps import Handler
from api_service.methods import Method
from shared.errors import (
    Contention,
    DeadlineExceeded,
    InvalidArgument,
    MessageMalformed,
    TaskHubError,
    Unavailable,
)

log = structlog.get_logger()

DOMAIN = "taskhub"

#: In bytes. A client of gRPC takes 8 KiB of metadata with an answer; beyond, it tells its caller of that and no more.
_MAX_TEXT = 256
_MAX_VIOLATIONS = 4096

#: Looked up by class, the nearest ancestor wins.
TRANSLATIONS: dict[type[BaseException], type[TaskHubError]] = {
    DecodeError: MessageMalformed,
    psycopg.errors.LockNotAvailable: Contention,
    psycopg.errors.DeadlockDetected: Contention,
    psycopg.errors.SerializationFailure: Contention,
    psycopg.errors.QueryCanceled: DeadlineExceeded,
    psycopg.errors.ReadOnlySqlTransaction: Unavailable,
    psycopg.OperationalError: Unavailable,
    psycopg.InterfaceError: Unavailable,
    ConnectionError: Unavailable,
}


class Errors:
    """Lets nothing but our own errors pass outwards: no driver's text, no stack trace, no UNKNOWN."""

    def wrap(self, method: Method, following: Handler) -> Handler:
        """Returns a handler that translates what `following` raises."""

        async def handle(request: Any, call: Call) -> Any:
            try:
                return await following(request, call)
            except (TaskHubError, asyncio.CancelledError):
                raise
            except Exception as error:
                raise translate(error, method) from error

        return handle


def translate(error: Exception, method: Method) -> TaskHubError:
    """Returns what the caller may know of `error`. What nobody foresaw is logged, and said to be ours."""
    for ancestor in type(error).__mro__:
        if ancestor in TRANSLATIONS:
            return TRANSLATIONS[ancestor]()
    log.error("call_failed_unexpectedly", method=method.path, exc_info=error)
    return TaskHubError()


def forget_frames(error: BaseException) -> None:
    """Lets go of what the frames that an error came through hold: requests and answers of megabytes.

    grpc keeps the exception of an aborted call in a cycle with its context, until the garbage collector comes by.
    """
    link: BaseException | None = error
    while link is not None:
        link.__traceback__ = None
        link = link.__cause__ or link.__context__


def status_code(error: TaskHubError) -> grpc.StatusCode:
    """Returns grpc's name for the status of `error`."""
    return grpc.StatusCode[error.code.name]


def message(error: TaskHubError) -> str:
    """Returns what `error` says to a person."""
    return _short(error.message)


def details(error: TaskHubError) -> tuple[tuple[str, str | bytes], ...]:
    """Returns the trailing metadata that explains `error` to a program."""
    return (("grpc-status-details-bin", to_status(error).SerializeToString()), *error.headers.items())


def to_status(error: TaskHubError) -> status_pb2.Status:
    """Returns `error` as a message: its code, its words, and what explains it to a program."""
    status = status_pb2.Status(code=int(error.code), message=message(error))
    status.details.extend(_pack(part) for part in _parts(error))
    return status


def _parts(error: TaskHubError) -> list[Message]:
    parts: list[Message] = [
        error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=dict(error.metadata))
    ]
    if isinstance(error, InvalidArgument):
        parts.append(_bad_request(error))
    if error.retry_after is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromNanoseconds(int(error.retry_after * 1e9))
        parts.append(retry)
    return parts


def _bad_request(error: InvalidArgument) -> error_details_pb2.BadRequest:
    """Returns as many of the violations as an answer has room for; a caller mends the first ones first."""
    bad = error_details_pb2.BadRequest()
    for field, description in error.violations:
        bad.field_violations.add(field=_short(field), description=_short(description), reason=error.reason)
        if bad.ByteSize() > _MAX_VIOLATIONS:
            del bad.field_violations[-1]
            break
    return bad


def _short(text: str) -> str:
    raw = text.encode()
    return text if len(raw) <= _MAX_TEXT else raw[:_MAX_TEXT].decode(errors="ignore") + "…"


def _pack(message: Message) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(message)
    return packed
