"""What is written by hand is what the library would have written."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from taskhub.v1 import task_pb2, task_service_pb2

from api_service.tasks.encoding import encode, moment, varint
from api_service.tasks.messages import to_message
from api_service.tasks.row import EPOCH, Raw, Row
from api_service.tasks.task import Task
from shared.states import TaskState

_EPOCH = datetime.fromtimestamp(EPOCH, UTC)

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=200)
times = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001  given with them
kinds = st.sampled_from(["users", "serviceAccounts"])
absent = st.none()


@st.composite
def tasks(draw: st.DrawFn) -> Task:
    """A task with any of its fields, also such as the rules would not let in together."""
    assignee = draw(st.booleans())
    created = draw(times)
    return Task(
        id=draw(st.uuids()),
        owner_id=draw(st.uuids()),
        owner_kind=draw(kinds),
        title=draw(texts),
        description=draw(texts | st.just("ä" * 10_000)),
        state=draw(st.sampled_from([*TaskState])).value,
        priority=draw(st.integers(1, 4)),
        labels=draw(st.dictionaries(st.from_regex(r"[a-z][a-z0-9_./-]{0,62}", fullmatch=True), texts, max_size=3)),
        due_time=draw(absent | times),
        remind_time=draw(absent | times),
        assignee_id=draw(st.uuids()) if assignee else None,
        assignee_kind=draw(kinds) if assignee else None,
        parent_id=draw(absent | st.uuids()),
        version=draw(st.integers(1, 2**31 - 1)),
        create_time=created,
        update_time=draw(st.just(created) | times),
        complete_time=draw(absent | times),
        delete_time=draw(absent | times),
        purge_time=draw(absent | times),
    )


def raw(task: Task) -> Raw:
    """Returns what PostgreSQL sends of a task."""
    found = [getattr(task, field) for field in Row._fields]
    found[Row._fields.index("labels")] = json.dumps(task.labels, ensure_ascii=False)
    return tuple(map(_sent, found))


def _sent(value: Any) -> Any:
    match value:
        case datetime():
            return (value - _EPOCH) // timedelta(microseconds=1)
        case str():
            return value.encode()
    return value


def decoded(rows: list[Raw]) -> list[task_pb2.Task]:
    return list(task_service_pb2.ListTasksResponse.FromString(encode(rows)).tasks)


@given(st.lists(tasks(), max_size=3))
def test_rows_and_messages_say_the_same(found: list[Task]) -> None:
    assert decoded([raw(task) for task in found]) == [to_message(task) for task in found]


@given(tasks())
def test_it_is_byte_for_byte_what_the_library_writes(task: Task) -> None:
    task = task._replace(labels=dict([*task.labels.items()][:1]))  # a map has no order
    assert encode([raw(task)]) == task_service_pb2.ListTasksResponse(tasks=[to_message(task)]).SerializeToString()


def test_no_field_of_the_contract_is_missing() -> None:
    id_, time = uuid.UUID(int=1), datetime(2026, 1, 1, tzinfo=UTC)
    full = Task(
        id_, id_, "users", "title", "description", TaskState.DONE, 4, {"a": "b"}, time, time, id_, "users", id_, 1,
        time, time, time, time, time,
    )  # fmt: skip
    [message] = decoded([raw(full)])
    assert {field.name for field, _ in message.ListFields()} == {
        field.name for field in task_pb2.Task.DESCRIPTOR.fields
    }


@pytest.mark.parametrize("seconds", [-62135596800, -1, 0, 1, 2**28 - 1, 2**28, 2**35 - 1, 2**35, 253402300799])
@pytest.mark.parametrize("micros", [0, 1, 16, 17, 268_435, 268_436, 999_999])
def test_a_moment_of_any_length(seconds: int, micros: int) -> None:
    expected = task_pb2.Task(create_time={"seconds": seconds, "nanos": micros * 1000}).create_time.SerializeToString()
    assert moment((seconds - EPOCH) * 1_000_000 + micros) == bytes((len(expected),)) + expected


@pytest.mark.parametrize(
    ("number", "bytes_"),
    [
        (0, "00"),
        (127, "7f"),
        (128, "8001"),
        (300, "ac02"),
        (16383, "ff7f"),
        (16384, "808001"),
        (2**64 - 1, "ff" * 9 + "01"),
    ],
)
def test_varints_are_those_of_the_specification(number: int, bytes_: str) -> None:
    assert varint(number).hex() == bytes_
