"""JSON logs on standard error: constant messages with fields, one object a line."""

from __future__ import annotations

import contextlib
import logging
import sys
from types import TracebackType
from typing import Any, TextIO, cast

import structlog

from shared.outline import outline


class _Undaunted:
    """Standard error, which may be a full disk or a pipe that nobody reads any more: what goes on must go on."""

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            sys.stderr.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            sys.stderr.flush()


def configure(service: str, level: str) -> None:
    """Sends structlog and the standard library's loggers through one JSON formatter; call it once a process."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _outline_exceptions,
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level)),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", _Undaunted())),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processor=structlog.processors.JSONRenderer())
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(getattr(logging, level))
    sys.excepthook = _log_the_end


def _outline_exceptions(_logger: Any, _method: str, event: Any) -> Any:
    """Puts what may be told of an exception in the place of the exception."""
    given = event.pop("exc_info", None)
    error = given if isinstance(given, BaseException) else given[1] if given and given is not True else None
    error = sys.exc_info()[1] if given is True else error
    if error is not None:
        event["exception"] = outline(error)
    return event


def _log_the_end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Logs what ends the process; Python itself would print its words."""
    if isinstance(error, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    else:
        structlog.get_logger().critical("process_failed", exc_info=error)
