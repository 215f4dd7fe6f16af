"""The questions that every RPC has to answer. They are asked of the descriptors, so that none can be forgotten."""

from __future__ import annotations

import uuid
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from taskhub.v1.options_pb2 import AccessRule

from api_service.methods import Method, methods
from tests.integration.api_service.samples import AS_ADMIN, BAD, GOOD, WITHOUT_FIELDS
from tests.support.api import Account, Api, refused
from tests.support.raw import Raw
from tests.support.servers import PATIENCE

METHODS = {method.path.removeprefix("/taskhub.v1."): method for method in methods()}
ADMINISTRATIVE = [path for path, method in METHODS.items() if method.access.kind == AccessRule.ADMIN]
KEYED = [path for path, method in METHODS.items() if method.takes_key]


@pytest.fixture
def caller(api: Api, path: str) -> Account:
    """Somebody who may call the method that is asked."""
    return api.account("ADMIN" if path in {*ADMINISTRATIVE, *AS_ADMIN} else "MEMBER")


def raw(api: Api, path: str) -> Raw:
    """Returns a callable that sends and returns bytes; of a stream, the first answer."""
    return Raw(api.channel, METHODS[path])


def send(api: Api, path: str, request: Message, metadata: Any = ()) -> tuple[bytes, dict[str, Any]]:
    """Calls, and returns the bytes of the answer with the initial metadata."""
    answer, call = raw(api, path).with_call(request.SerializeToString(), metadata=metadata, timeout=PATIENCE)
    return answer, dict(call.initial_metadata())


def test_every_rpc_has_its_samples() -> None:
    assert set(GOOD) == set(METHODS)
    assert set(BAD) == set(METHODS) - WITHOUT_FIELDS


@pytest.mark.parametrize("path", METHODS)
def test_a_good_request_is_answered(api: Api, caller: Account, path: str) -> None:
    request = GOOD[path](api, caller).SerializeToString()
    answer, call = raw(api, path).with_call(
        request, metadata=(*caller.metadata, ("x-request-id", "mine")), timeout=PATIENCE
    )
    METHODS[path].response.FromString(answer)
    # A stream says it at its beginning, and again at an end that nobody here waits for.
    said = call.initial_metadata() if METHODS[path].server_streaming else call.trailing_metadata()
    assert dict(said)["x-request-id"] == "mine"


@pytest.mark.parametrize("path", ADMINISTRATIVE)
def test_what_is_for_administrators_is_for_nobody_else(api: Api, alice: Account, path: str) -> None:
    request = GOOD[path](api, api.account("ADMIN"))
    before = effects(api)
    found = refused(raw(api, path), request.SerializeToString(), metadata=alice.metadata)
    assert (found.code, found.reason) == (grpc.StatusCode.PERMISSION_DENIED, "SCOPE_MISSING")
    assert effects(api) == before


@pytest.mark.parametrize("path", BAD)
def test_a_malformed_field_is_named(api: Api, caller: Account, path: str) -> None:
    field, request = BAD[path]
    found = refused(raw(api, path), request.SerializeToString(), metadata=caller.metadata)
    assert found.code == grpc.StatusCode.INVALID_ARGUMENT
    assert field in found.fields


@pytest.mark.parametrize("path", METHODS)
def test_bytes_that_are_no_message(api: Api, caller: Account, path: str) -> None:
    found = refused(raw(api, path), b"\x0a\xff\xff\xff\xff", metadata=caller.metadata)
    assert (found.code, found.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "MESSAGE_MALFORMED")


@pytest.mark.parametrize("path", KEYED)
def test_the_same_key_twice_is_one_effect_and_one_answer(api: Api, caller: Account, path: str) -> None:
    request, metadata = GOOD[path](api, caller), caller.with_key(str(uuid.uuid4()))
    first, first_metadata = send(api, path, request, metadata)
    if path == "AuthService/Logout":  # its own token is over now
        metadata = (*api.sign_in(caller.id, caller.email).metadata, metadata[-1])
    before = effects(api)
    second, second_metadata = send(api, path, request, metadata)
    assert second == without_secrets(METHODS[path], first)
    assert "idempotency-replayed" not in first_metadata
    assert second_metadata["idempotency-replayed"] == "true"
    assert effects(api) == before


@pytest.mark.parametrize("path", sorted(set(KEYED) - WITHOUT_FIELDS))
def test_the_same_key_with_another_request(api: Api, caller: Account, path: str) -> None:
    request, metadata = GOOD[path](api, caller), caller.with_key(str(uuid.uuid4()))
    send(api, path, request, metadata)
    before = effects(api)
    other = another(METHODS[path], request)
    found = refused(raw(api, path), other.SerializeToString(), metadata=metadata)
    assert (found.code, found.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "IDEMPOTENCY_KEY_REUSED")
    assert effects(api) == before


@pytest.mark.parametrize("path", KEYED)
@pytest.mark.parametrize("keys", [[""], ["x" * 256], ["one", "two"]], ids=["empty", "long", "two"])
def test_a_malformed_key(api: Api, caller: Account, path: str, keys: list[str]) -> None:
    request = GOOD[path](api, caller)
    before = effects(api)
    metadata = (*caller.metadata, *(("idempotency-key", key) for key in keys))
    found = refused(raw(api, path), request.SerializeToString(), metadata=metadata)
    assert (found.code, found.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "IDEMPOTENCY_KEY_INVALID")
    assert effects(api) == before


VALIDATED = [path for path in KEYED if "validate_only" in METHODS[path].request.DESCRIPTOR.fields_by_name]


@pytest.mark.parametrize("path", VALIDATED)
def test_validate_only_refuses_a_malformed_key_as_the_call_would(api: Api, caller: Account, path: str) -> None:
    request: Any = GOOD[path](api, caller)
    request.validate_only = True
    found = refused(raw(api, path), request.SerializeToString(), metadata=caller.with_key("x" * 256))
    assert (found.code, found.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "IDEMPOTENCY_KEY_INVALID")


@pytest.mark.parametrize("path", VALIDATED)
def test_validate_only_answers_and_writes_nothing(api: Api, caller: Account, path: str) -> None:
    request: Any = GOOD[path](api, caller)
    request.validate_only = True
    before = effects(api)
    key = caller.with_key(str(uuid.uuid4()))
    send(api, path, request, key)
    assert effects(api) == before
    request.validate_only = False
    assert "idempotency-replayed" not in send(api, path, request, key)[1]


def another(method: Method, request: Message) -> Message:
    """Returns a request that differs, from the same principal."""
    other: Any = method.request.FromString(request.SerializeToString())
    for field, value in (("display_name", "Other"), ("etag", '"9"'), ("validate_only", False)):
        if field in method.request.DESCRIPTOR.fields_by_name and field != "validate_only":
            setattr(other, field, value)
            return other  # type: ignore[no-any-return]
    for holder, field in (("task", "title"), ("user", "display_name"), ("service_account", "display_name")):
        if holder in method.request.DESCRIPTOR.fields_by_name:
            setattr(getattr(other, holder), field, "Another")
            return other  # type: ignore[no-any-return]
    # Anonymous methods are scoped by the one field they have; an unknown field is another request of the same subject.
    return method.request.FromString(request.SerializeToString() + b"\xf8\x3f\x01")


def without_secrets(method: Method, answer: bytes) -> bytes:
    """Returns the answer as it may be stored."""
    message = method.response.FromString(answer)
    secrets = [field.name for field, _ in message.ListFields() if field.GetOptions().debug_redact]
    for name in secrets:
        message.ClearField(name)
    return message.SerializeToString() if secrets else answer


def effects(api: Api) -> list[tuple[Any, ...]]:
    """Returns how much there is of everything that a mutation can change."""
    return api.execute(
        """
        SELECT (SELECT count(*) FROM tasks), (SELECT coalesce(sum(version), 0) FROM tasks),
               (SELECT count(*) FROM events), (SELECT count(*) FROM jobs), (SELECT sum(version) FROM users),
               (SELECT coalesce(sum(version), 0) FROM service_accounts),
               (SELECT count(*) + count(revoke_time) FROM service_account_keys),
               (SELECT count(*) FROM registrations), (SELECT count(revoke_time) FROM sessions),
               (SELECT count(*) FROM idempotency_records), (SELECT count(*) FROM job_files)
        """
    )
