from __future__ import annotations

from google.protobuf import descriptor_pb2
from taskhub.v1 import task_service_pb2

from deploy.gateway import contract
from deploy.gateway.render import _for_lua


def _route(verb: str, template: str) -> contract.Route:
    return next(each for each in contract.routes() if (each.verb, each.template) == (verb, template))


def test_every_rpc_has_a_route() -> None:
    methods = {method.full_name for service in contract.services() for method in service.methods}
    assert {route.rpc.full_name for route in contract.routes()} == methods


def test_files_come_after_what_they_import() -> None:
    files = descriptor_pb2.FileDescriptorSet.FromString(contract.descriptor_set())
    seen: set[str] = set()
    for file in files.file:
        assert set(file.dependency) <= seen, file.name
        seen.add(file.name)
    assert {"google/rpc/error_details.proto", "taskhub/v1/task_service.proto"} <= seen


def test_a_parameter_is_what_neither_path_nor_body_holds() -> None:
    update = _route("PATCH", "/v1/{task.name=tasks/*}")
    assert {parameter.json_path for parameter in update.parameters} == {"updateMask", "validateOnly"}
    assert _route("POST", "/v1/{name=tasks/*}:start").parameters == []
    delete = contract.Route(task_service_pb2.DESCRIPTOR.services_by_name["TaskService"].methods_by_name["UpdateTask"],
                            "PATCH", "/v1/{task.name=tasks/*}", "")  # fmt: skip
    nested = {parameter.path for parameter in delete.parameters}
    assert {"task.title", "task.due_time", "update_mask"} <= nested
    assert not {"task.name", "task.labels"} & nested


def test_a_pattern_lets_no_verb_hide_in_an_id() -> None:
    assert _for_lua(_route("GET", "/v1/{name=tasks/*}"))["pattern"] == "^/v1/tasks/[^/:]+$"
    assert _for_lua(_route("GET", "/.well-known/jwks.json"))["pattern"] == "^/%.well%-known/jwks%.json$"
