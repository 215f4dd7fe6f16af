"""Who gets in: every RPC asked with every token that is not good, without its scope, and for a stranger's things.

Asked of the descriptors and the samples, so that no RPC can be forgotten.
"""

from __future__ import annotations

import re
import uuid
from typing import Any, cast

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from taskhub.v1 import auth_service_pb2, user_service_pb2
from taskhub.v1.options_pb2 import AccessRule

from api_service.methods import Method, methods
from api_service.principal import ADMIN_SCOPES
from tests.integration.api_service.samples import GOOD, NAMING
from tests.support.api import Account, Api, Metadata, refused
from tests.support.forgery import Forger, bearer
from tests.support.raw import Raw
from tests.support.servers import PATIENCE, eventually

METHODS = {method.path.removeprefix("/taskhub.v1."): method for method in methods()}
PROTECTED = [path for path, method in METHODS.items() if method.access.kind != AccessRule.PUBLIC]
ADMINISTRATIVE = [path for path, method in METHODS.items() if method.access.kind == AccessRule.ADMIN]
PUBLIC = [path for path, method in METHODS.items() if method.access.kind == AccessRule.PUBLIC]

UUID = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
#: Parses as no message at all: whoever is told so got past the access rule, and nothing has happened.
GARBAGE = b"\x0a\xff\xff\xff\xff"
LET_IN = (grpc.StatusCode.INVALID_ARGUMENT, "MESSAGE_MALFORMED")
NOT_LET_IN = (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_INVALID")


def ask(api: Api, path: str, metadata: Any) -> tuple[grpc.StatusCode, str]:
    """Returns what a call is told that says nothing."""
    found = refused(Raw(api.channel, METHODS[path]), GARBAGE, metadata=metadata, timeout=PATIENCE)
    return found.code, found.reason


@pytest.fixture(scope="module")
def forger(api: Api) -> Forger:
    return Forger(api)


@pytest.fixture(scope="module")
def unfit(api: Api, forger: Forger) -> dict[str, Metadata]:
    """Returns the metadata of calls by what is wrong with it."""
    account = api.account()
    good = account.metadata[0][1]
    token = good.removeprefix("Bearer ")
    wrong = {name: bearer(token) for name, token in forger.forgeries(account).items()}
    return wrong | {
        "two tokens": (*account.metadata, *account.metadata),
        "no scheme": (("authorization", token),),
        "another scheme": (("authorization", f"Basic {token}"),),
        "two schemes": (("authorization", f"Bearer Bearer {token}"),),
        "a comma": (("authorization", f"{good}, {good}"),),
        "a revoked session": ended(api),
        "a disabled account": disabled(api),
    }


def ended(api: Api) -> Metadata:
    """Returns the metadata of somebody who has signed out, once every process knows."""
    account = api.account()
    api.auth.Logout(auth_service_pb2.LogoutRequest(), metadata=account.metadata)
    eventually(lambda: refused_everywhere(api, account.metadata))
    return account.metadata


def disabled(api: Api) -> Metadata:
    """Returns the metadata of somebody whose account an administrator disabled, once every process knows."""
    account = api.account()
    request = user_service_pb2.DisableUserRequest(name=account.name)
    api.users.DisableUser(request, metadata=api.account("ADMIN").metadata)
    eventually(lambda: refused_everywhere(api, account.metadata))
    return account.metadata


def refused_everywhere(api: Api, metadata: Metadata) -> bool:
    """Whether no process lets a token in, over enough connections to reach all."""
    for _ in range(8):
        with api.connect() as channel:
            found = refused(Raw(channel, METHODS["UserService/GetUser"]), GARBAGE, metadata=metadata)
            if (found.code, found.reason) == LET_IN:
                return False
    return True


def test_the_forger_knows_what_a_good_token_is(api: Api, alice: Account, forger: Forger) -> None:
    assert ask(api, "TaskService/ListTasks", bearer(forger.token(alice))) == LET_IN


@pytest.mark.parametrize("path", PROTECTED)
def test_no_token(api: Api, path: str) -> None:
    found = refused(Raw(api.channel, METHODS[path]), METHODS[path].request().SerializeToString())
    assert (found.code, found.reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_MISSING")
    assert found.request_id


@pytest.mark.parametrize("path", PROTECTED)
def test_a_token_that_is_not_good(api: Api, unfit: dict[str, Metadata], path: str) -> None:
    met = {name: ask(api, path, metadata) for name, metadata in unfit.items()}
    assert {name: answer for name, answer in met.items() if answer != NOT_LET_IN} == {}


@pytest.mark.parametrize("path", PUBLIC)
def test_a_public_method_does_not_look_at_tokens(api: Api, unfit: dict[str, Metadata], path: str) -> None:
    met = {name: ask(api, path, metadata) for name, metadata in unfit.items()}
    assert {name: answer for name, answer in met.items() if answer != LET_IN} == {}


def needed(method: Method) -> str | None:
    """Returns the scope that an access rule asks for."""
    return {AccessRule.SCOPE: method.access.scope, AccessRule.ADMIN: "admin"}.get(method.access.kind)


@pytest.mark.parametrize("path", PROTECTED)
def test_a_scope_lets_in_and_all_others_together_do_not(api: Api, alice: Account, forger: Forger, path: str) -> None:
    scope = needed(METHODS[path])
    others = " ".join(sorted(ADMIN_SCOPES - {scope}))
    assert ask(api, path, bearer(forger.token(alice, scope=scope or ""))) == LET_IN
    refusal = (grpc.StatusCode.PERMISSION_DENIED, "SCOPE_MISSING") if scope else LET_IN
    assert ask(api, path, bearer(forger.token(alice, scope=others))) == refusal


def test_a_missing_scope_is_named(api: Api, alice: Account, forger: Forger) -> None:
    call = Raw(api.channel, METHODS["TaskService/CreateTask"])
    with pytest.raises(grpc.RpcError) as error:
        call(b"", metadata=bearer(forger.token(alice, scope="tasks.read")))
    trailers: dict[str, Any] = dict(cast("Any", error.value).trailing_metadata())
    [detail] = status_pb2.Status.FromString(trailers["grpc-status-details-bin"]).details
    info = error_details_pb2.ErrorInfo()
    assert detail.Unpack(info)
    assert dict(info.metadata) == {"scope": "tasks.write"}


@pytest.mark.parametrize("path", NAMING)
def test_a_strangers_resource_and_a_missing_one_are_alike_to_the_byte(
    api: Api, alice: Account, bob: Account, path: str
) -> None:
    request = GOOD[path](api, alice).SerializeToString()
    missing = UUID.sub(str(uuid.uuid4()).encode(), request)
    stranger, nobody = (everything_told(api, path, bytes_, bob.metadata) for bytes_ in (request, missing))
    assert stranger[0] == grpc.StatusCode.NOT_FOUND
    assert stranger == nobody


@pytest.mark.parametrize("path", ADMINISTRATIVE)
def test_an_administrator_is_told_that_a_resource_is_missing(api: Api, admin: Account, path: str) -> None:
    request = GOOD[path](api, admin).SerializeToString()
    missing = UUID.sub(str(uuid.uuid4()).encode(), request)
    if missing != request:
        assert everything_told(api, path, missing, admin.metadata)[0] == grpc.StatusCode.NOT_FOUND


def everything_told(api: Api, path: str, request: bytes, metadata: Metadata) -> tuple[Any, ...]:
    """Returns all that reaches a refused caller, but for the ids that it gave itself."""
    call = Raw(api.channel, METHODS[path])
    with pytest.raises(grpc.RpcError) as error:
        call(request, metadata=(*metadata, ("x-request-id", "mine")), timeout=PATIENCE)
    found: Any = error.value
    trailers = {
        key: UUID.sub(b"id", value.encode() if isinstance(value, str) else value)
        for key, value in found.trailing_metadata()
    }
    return found.code(), found.details(), dict(found.initial_metadata()), trailers


def test_no_method_that_names_something_is_forgotten(api: Api, alice: Account) -> None:
    asked = {path for path in PROTECTED if METHODS[path].access.kind != AccessRule.ADMIN}
    naming = {path for path in asked if UUID.search(GOOD[path](api, alice).SerializeToString())}
    assert naming == set(NAMING)
