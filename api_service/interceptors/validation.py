"""Parses the request and checks the rules that the contract declares on its fields (`buf.validate`)."""

from __future__ import annotations

from typing import Any

import protovalidate

from api_service.call import Call
from api_service.interceptors.steps import Handler
from api_service.methods import Method
from shared.errors import FieldsInvalid


class Validation:
    """Refuses what the annotations refuse, with the path of each field that is wrong."""

    def __init__(self) -> None:
        self._validator = protovalidate.Validator()

    def wrap(self, method: Method, following: Handler) -> Handler:
        """Returns a handler that takes bytes and hands a valid message on."""
        parse = method.request.FromString
        violations = self._validator.collect_violations
        violations(method.request())  # compiles the rules now, not in the first call

        async def handle(request: bytes, call: Call) -> Any:
            message = parse(request)
            found = violations(message)
            if found:
                raise FieldsInvalid([(_path(violation), violation.proto.message) for violation in found])
            return await following(message, call)

        return handle


def _path(violation: protovalidate.Violation) -> str:
    """Returns `task.labels["key"]` and its like."""
    path = ""
    for element in violation.proto.field.elements if violation.proto.field else ():
        path += ("." if path else "") + element.field_name
        if element.subscript is not None:
            key = element.subscript.value
            path += f'["{key}"]' if isinstance(key, str) else f"[{key}]"
    return path
