"""What an update mask means (AIP-134)."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from shared.errors import InvalidArgument


def changed_paths(mask: FieldMask, resource: Message, changeable: Collection[str]) -> Iterable[str]:
    """Returns the fields of `resource` that are to change.

    No mask means those of `changeable` that are present, `*` all of them. Raises InvalidArgument for a mask that names
    no field, an unknown one, or one that cannot be changed.
    """
    paths = list(mask.paths)
    if paths == ["*"]:
        return changeable
    if not paths:
        paths = [descriptor.name for descriptor, _ in resource.ListFields() if descriptor.name in changeable]
        if not paths:
            raise InvalidArgument("update_mask", "names no field, and no field is present")
    for path in paths:
        if path not in changeable:
            raise InvalidArgument("update_mask", _refusal(path, resource))
    return paths


def _refusal(path: str, resource: Message) -> str:
    if path == "*":
        return "`*` stands alone or not at all"
    kind = resource.DESCRIPTOR.name
    if path in resource.DESCRIPTOR.fields_by_name:
        return f"`{path}` cannot be changed by Update{kind}"
    return f"`{path[:100]}` is not a field of {kind}"
