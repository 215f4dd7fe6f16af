"""What an upload says that it is, and whether that can be what was asked for."""

from __future__ import annotations

import re

from taskhub.v1 import task_file_pb2, task_service_pb2

from shared.errors import InvalidArgument

_Format = task_file_pb2.TaskFile.Format

#: Content types that say how the lines are written.
_NAMED = {
    "text/csv": "CSV",
    "application/csv": "CSV",
    "application/x-ndjson": "NDJSON",
    "application/ndjson": "NDJSON",
    "application/jsonl": "NDJSON",
    "application/x-jsonlines": "NDJSON",
}

#: Content types that say nothing of it, with the formats that they may hold.
_OPEN = {
    "": {"CSV", "NDJSON"},
    "application/octet-stream": {"CSV", "NDJSON"},
    "text/plain": {"CSV", "NDJSON"},
    "application/json": {"NDJSON"},
}

_CHARSET = re.compile(r";\s*charset\s*=\s*\"?([^\s;\"]*)", re.IGNORECASE)


def file_format(request: task_service_pb2.ImportTasksRequest) -> str:
    """Returns how the lines of an upload are written, as asked for or as its content type says.

    Raises InvalidArgument where neither says it, where the two contradict each other, and for what is no file of tasks
    whatever was asked for: a form (`curl -F`, `curl -d`) has the file somewhere inside, its bytes are not the file's.
    """
    asked = _Format.Name(request.format) if request.format else ""
    kind = request.body.content_type.partition(";")[0].strip().lower()
    _check_charset(request.body.content_type)
    if kind in _NAMED:
        if asked not in ("", _NAMED[kind]):
            raise InvalidArgument("body.content_type", f"is {kind}, and `format` says {asked}")
        return _NAMED[kind]
    if kind not in _OPEN or (asked and asked not in _OPEN[kind]):
        raise InvalidArgument(
            "body.content_type",
            f"is {kind[:100]}; send the file itself as the body, as text/csv, application/x-ndjson or "
            "application/octet-stream",
        )
    if not asked:
        raise InvalidArgument("format", "is required unless the content type is text/csv or application/x-ndjson")
    return asked


#: How files begin that are sent by mistake, and that no line of them would tell of.
_FOREIGN = {
    b"\x1f\x8b": "is compressed with gzip; send it as it was before",
    b"PK\x03\x04": "is a ZIP archive or a spreadsheet; save it as CSV",
    b"\xff\xfe": "is UTF-16, and a file of tasks is UTF-8",
    b"\xfe\xff": "is UTF-16, and a file of tasks is UTF-8",
}


def check_beginning(data: bytes) -> None:
    """Raises InvalidArgument for what begins as no file of tasks does."""
    for begin, said in _FOREIGN.items():
        if data.startswith(begin):
            raise InvalidArgument("body", said)


def _check_charset(content_type: str) -> None:
    found = _CHARSET.search(content_type)
    if found and found[1].lower() not in ("utf-8", "utf8", "us-ascii"):
        raise InvalidArgument("body.content_type", f"has the charset {found[1][:40]}, and a file of tasks is UTF-8")
