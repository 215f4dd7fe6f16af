"""The contract's access rules."""

from __future__ import annotations

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from taskhub.v1 import options_pb2

from api_service.methods import AccessRuleMissingError, methods
from api_service.principal import ADMIN_SCOPES, MEMBER_SCOPES


def test_an_rpc_without_an_access_rule_keeps_the_server_from_starting() -> None:
    file = descriptor_pb2.FileDescriptorProto(name="forgotten.proto", package="forgotten", syntax="proto3")
    file.message_type.add(name="Nothing")
    service = file.service.add(name="ForgottenService")
    service.method.add(name="Forgotten", input_type=".forgotten.Nothing", output_type=".forgotten.Nothing")
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    with pytest.raises(AccessRuleMissingError, match="ForgottenService/Forgotten"):
        list(methods([pool.FindFileByName("forgotten.proto")]))


def test_every_scope_of_the_contract_can_be_held() -> None:
    scopes = {method.access.scope for method in methods() if method.access.kind == options_pb2.AccessRule.SCOPE}
    assert scopes <= MEMBER_SCOPES < ADMIN_SCOPES
