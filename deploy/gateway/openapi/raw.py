"""Bodies that are files and no JSON: google.api.HttpBody in a request or an answer."""

from __future__ import annotations

from typing import Any

Node = dict[str, Any]

#: What tasks are written in.
TYPES = ("text/csv", "application/x-ndjson")

_CONTENT: Node = {kind: {"schema": {"type": "string", "contentMediaType": kind}} for kind in TYPES}

HEADERS: Node = {
    "Content-Length": {"description": "What remains of the file, in bytes. One that breaks off is shorter."},
    "Content-Disposition": {"description": "The file's name."},
    "Repr-Digest": {"description": "SHA-256 of the whole file (RFC 9530)."},
}


def take_file(operation: Node) -> None:
    """Says that the body is a file."""
    operation["requestBody"] = {"description": "The file.", "content": _CONTENT, "required": True}


def answer_file(operation: Node) -> None:
    """Says that the answer is a file."""
    success = operation["responses"]["200"]
    success["description"] = "The file."
    success["content"] = _CONTENT
    success["headers"] |= {name: {"$ref": f"#/components/headers/{name}"} for name in HEADERS}
