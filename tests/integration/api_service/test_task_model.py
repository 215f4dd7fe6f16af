"""States, subtasks and deletion, in any order that hypothesis thinks of, against a model of a few lines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import grpc
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from taskhub.v1 import task_pb2, task_service_pb2

from shared.states import TASK_TRANSITIONS, TaskAction
from tests.support.api import Account, Api, refusal

v1 = task_service_pb2
Task = task_pb2.Task
CLOSED = {"DONE", "CANCELLED"}


@dataclass
class Node:
    """What the model knows of a task. `gone` tells the calls apart that delete."""

    state: str = "TODO"
    parent: str = ""
    gone: int = 0


class Machine(RuleBasedStateMachine):
    """Does the same to the API and to the model, and compares what they say."""

    tasks = Bundle("tasks")

    def __init__(self, api: Api, who: Account) -> None:
        super().__init__()
        self._api, self._who = api, who
        self._nodes: dict[str, Node] = {}
        self._calls = 0

    def _call(self, method: str, request: Any, expected: str | None) -> Any:
        answer, reason = None, None
        try:
            answer = getattr(self._api.tasks, method)(request, metadata=self._who.metadata)
        except grpc.RpcError as error:
            reason = refusal(error).reason
        assert reason == expected
        return answer

    def _below(self, name: str) -> Iterator[str]:
        for child, node in self._nodes.items():
            if node.parent == name:
                yield child
                yield from self._below(child)

    def _line(self, name: str) -> list[str]:
        return [name, *self._line(self._nodes[name].parent)] if name else []

    def _height(self, name: str) -> int:
        return 1 + max((self._height(child) for child, node in self._nodes.items() if node.parent == name), default=0)

    def _unfit(self, parent: str, *, open_: bool) -> str | None:
        if not parent:
            return None
        if self._nodes[parent].gone:
            return "PARENT_DELETED"
        return "PARENT_CLOSED" if open_ and self._nodes[parent].state in CLOSED else None

    @rule(target=tasks, parent=st.one_of(st.just(""), tasks))
    def create(self, parent: str) -> str:
        expected = self._unfit(parent, open_=True)
        if expected is None and len(self._line(parent)) == 8:
            expected = "TREE_LIMIT_EXCEEDED"
        request = v1.CreateTaskRequest(task=Task(title="x", parent_task=parent))
        answer = self._call("CreateTask", request, expected)
        if answer is None:
            return parent
        self._nodes[answer.name] = Node(parent=parent)
        return str(answer.name)

    @rule(name=tasks, parent=st.one_of(st.just(""), tasks))
    def put(self, name: str, parent: str) -> None:
        node, expected = self._nodes[name], None
        if node.gone:
            expected = "RESOURCE_NOT_FOUND"
        elif parent != node.parent:
            expected = self._unfit(parent, open_=node.state not in CLOSED)
            if expected is None and name in self._line(parent):
                expected = "SUBTASK_CYCLE"
            if expected is None and parent and len(self._line(parent)) + self._height(name) > 8:
                expected = "TREE_LIMIT_EXCEEDED"
        self._call("UpdateTask", v1.UpdateTaskRequest(task=Task(name=name, parent_task=parent)), expected)
        if expected is None:
            node.parent = parent

    @rule(name=tasks, action=st.sampled_from(TaskAction), force=st.booleans())
    def act(self, name: str, action: TaskAction, *, force: bool) -> None:
        node, (sources, target) = self._nodes[name], TASK_TRANSITIONS[action]
        forcing = {"force": force} if action in (TaskAction.COMPLETE, TaskAction.CANCEL) else {}
        parts = [self._nodes[part] for part in self._below(name)]
        parts = [part for part in parts if not part.gone and part.state not in CLOSED] if forcing else []
        expected = None
        if node.gone:
            expected = "RESOURCE_NOT_FOUND"
        elif node.state not in sources:
            expected = "STATE_TRANSITION_INVALID"
        elif action is TaskAction.REOPEN:
            expected = self._unfit(node.parent, open_=True)
        elif parts and not force:
            expected = "SUBTASKS_OPEN"
        verb = action.value.capitalize()
        self._call(f"{verb}Task", getattr(v1, f"{verb}TaskRequest")(name=name, **forcing), expected)
        if expected is None:
            for each in (node, *parts):
                each.state = target.value

    @rule(name=tasks, force=st.booleans())
    def delete(self, name: str, *, force: bool) -> None:
        node = self._nodes[name]
        parts = [part for each in self._below(name) if not (part := self._nodes[each]).gone]
        expected = "SUBTASKS_EXIST" if parts and not force else None
        expected = "RESOURCE_NOT_FOUND" if node.gone else expected
        self._call("DeleteTask", v1.DeleteTaskRequest(name=name, force=force), expected)
        if expected is None:
            self._calls += 1
            for each in (node, *parts):
                each.gone = self._calls

    @rule(name=tasks)
    def undelete(self, name: str) -> None:
        node = self._nodes[name]
        expected = self._unfit(node.parent, open_=node.state not in CLOSED) if node.gone else "TASK_NOT_DELETED"
        self._call("UndeleteTask", v1.UndeleteTaskRequest(name=name), expected)
        if expected is None:
            call, node.gone = node.gone, 0
            for part in self._below(name):
                if self._nodes[part].gone == call:
                    self._nodes[part].gone = 0

    @invariant()
    def the_api_says_what_the_model_says(self) -> None:
        if not self._nodes:
            return
        request = v1.BatchGetTasksRequest(names=list(self._nodes))
        found = self._api.tasks.BatchGetTasks(request, metadata=self._who.metadata).tasks
        assert {
            task.name: (Task.State.Name(task.state), task.parent_task, task.HasField("delete_time")) for task in found
        } == {name: (node.state, node.parent, node.gone > 0) for name, node in self._nodes.items()}

    @invariant()
    def nothing_open_is_part_of_what_is_closed_nor_anything_live_of_what_is_deleted(self) -> None:
        for node in self._nodes.values():
            if node.parent and not node.gone:
                assert not self._nodes[node.parent].gone
                assert node.state in CLOSED or self._nodes[node.parent].state not in CLOSED


def test_any_order_of_calls_does_what_the_model_does(api: Api, alice: Account) -> None:
    machine: Any = lambda: Machine(api, alice)  # noqa: E731  takes no arguments where hypothesis makes one
    run_state_machine_as_test(machine, settings=settings(max_examples=60, stateful_step_count=40))
