"""Refusals are for people: no pattern of the contract reaches a caller as a regular expression."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from buf.validate import validate_pb2
from google.protobuf.descriptor import Descriptor
from taskhub.v1 import (
    auth_service_pb2,
    job_service_pb2,
    service_account_service_pb2,
    task_service_pb2,
    user_service_pb2,
)

from api_service.interceptors.words import in_words

ID = "01a20a94-5dfd-74c6-96f8-dcf6c45379bd"


def patterns(message: Descriptor) -> Iterator[str]:
    for field in message.fields:
        rules: Any = field.GetOptions().Extensions[validate_pb2.field]  # type: ignore[index]  # as in the stubs of protoc
        for each in (rules, rules.repeated.items, rules.map.keys, rules.map.values):
            if each.string.pattern:
                yield each.string.pattern
        inner = field.message_type
        if inner is not None and inner.full_name.startswith("taskhub.v1."):
            yield from patterns(inner)


FILES: tuple[Any, ...] = (
    auth_service_pb2,
    user_service_pb2,
    service_account_service_pb2,
    task_service_pb2,
    job_service_pb2,
)
SERVICES = [service for file in FILES for service in file.DESCRIPTOR.services_by_name.values()]


@pytest.mark.parametrize(
    "pattern", sorted({each for s in SERVICES for m in s.methods for each in patterns(m.input_type)})
)
def test_every_pattern_of_the_contract_is_said_in_words(pattern: str) -> None:
    said = in_words(pattern)
    assert said is not None
    assert "^" not in said
    assert "[" not in said


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("^tasks/{}$", f"must be a name such as tasks/{ID}"),
        ("^(tasks/{})?$", f"must be a name such as tasks/{ID}, or empty"),
        ("^((users|serviceAccounts)/{})?$", f"must be a name such as users/{ID}, or empty"),
        ("^users/(me|{})$", "must be a name such as users/me"),
        ("^(users/(me|{}))?$", "must be a name such as users/me, or empty"),
        ("^serviceAccounts/{0}/keys/{0}$", f"must be a name such as serviceAccounts/{ID}/keys/{ID}"),
        ("^[0-9]$", None),
    ],
)
def test_a_pattern_of_names_is_said_by_an_example(pattern: str, said: str | None) -> None:
    id_ = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
    assert in_words(pattern.replace("{0}", id_).replace("{}", id_)) == said
