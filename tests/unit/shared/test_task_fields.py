"""What reads fields from files holds them to the contract's own bounds."""

from __future__ import annotations

import json
from typing import Any

import protovalidate
import pytest
from google.api import field_behavior_pb2
from google.protobuf import json_format
from hypothesis import example, given
from hypothesis import strategies as st
from taskhub.v1 import task_pb2

from shared.filters.tasks import PRIORITIES
from shared.task_fields import OUTPUT_ONLY, READERS, parse_json, title

_FIELDS = task_pb2.Task.DESCRIPTOR.fields_by_name
_VALIDATOR = protovalidate.Validator()

#: Text with what bounds are about: control characters, other planes, much of it.
TEXT = (
    st.text(max_size=2)
    | st.text(alphabet=st.sampled_from("ab\0\t\n\x7f\x9f\u2028 \u2003\u3164\u200b\u0301é'="), max_size=5)
    | st.builds(
        lambda char, number: char * number,
        st.sampled_from("x\N{GRINNING FACE}"),
        st.sampled_from([199, 200, 201, 255, 256, 10_000, 10_001]),
    )
)
KEYS = st.from_regex(r"[aA1_.-]?[a-z0-9_./-]{0,64}", fullmatch=True)
TIMES = st.builds(
    "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}{}{}".format,
    st.sampled_from([1, 1969, 1970, 2024, 9999]),
    st.integers(0, 13),
    st.integers(0, 32),
    st.integers(0, 24),
    st.integers(0, 60),
    st.integers(0, 59),
    st.sampled_from(["", ".5", ".123456789"]),
    st.sampled_from(["Z", "+01:00", "-23:59", ""]),
)


def contract(field: str, value: Any) -> task_pb2.Task | None:
    """Returns the task that a message with this field would be, or None where the contract refuses it."""
    try:
        task = json_format.ParseDict({"title": "x", field: value}, task_pb2.Task())
    except json_format.ParseError:
        return None
    return None if _VALIDATOR.collect_violations(task) else task


def read(field: str, value: Any) -> tuple[bool, Any]:
    try:
        return True, READERS[field](value)
    except ValueError:
        return False, None


@given(TEXT)
@pytest.mark.parametrize("field", ["title", "description"])
def test_texts(field: str, value: str) -> None:
    message = contract(field, value)
    assert read(field, value) == ((True, getattr(message, field)) if message else (False, None))


@given(st.dictionaries(KEYS, TEXT, max_size=3))
@example({f"a{n}": "" for n in range(64)})
@example({f"a{n}": "" for n in range(65)})
def test_labels(value: dict[str, str]) -> None:
    message = contract("labels", value)
    assert read("labels", value) == ((True, dict(message.labels)) if message else (False, None))
    assert read("labels", json.dumps(value)) == read("labels", value)


@given(TIMES)
@pytest.mark.parametrize("field", ["due_time", "remind_time"])
def test_times(field: str, value: str) -> None:
    message = contract(field, value)
    fits, found = read(field, value)
    assert fits == (message is not None)
    if message and found:
        assert found.timestamp() == pytest.approx(getattr(message, field).ToMicroseconds() / 1e6, abs=1e-6)


@pytest.mark.parametrize("value", [*task_pb2.Task.Priority.keys(), "", "low", "NOPE"])
def test_priorities(value: str) -> None:
    assert read("priority", value)[0] == (value == "" or contract("priority", value) is not None)
    numbers = {name: number for name, number in task_pb2.Task.Priority.items() if number}
    assert numbers == PRIORITIES


@pytest.mark.parametrize("value", [1, 1.5, True, [], {}, ["a"], {"a": 1}, {"a": None}])
def test_what_is_no_text_is_refused(value: Any) -> None:
    refused = [field for field in READERS if not read(field, value)[0]]
    assert refused == [field for field in READERS if not (field == "labels" and value == {})]


def test_half_a_character_is_refused() -> None:
    with pytest.raises(ValueError, match="half a character"):
        title("\ud800")


@pytest.mark.parametrize("text", ["", "{", "NaN", '{"a": Infinity}', '{"a": 1, "a": 1}', "[" * 100_000, "1" * 10_000])
def test_what_is_not_quite_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not JSON|gives a name twice|nests too deep"):
        parse_json(text)


def test_every_field_is_read_or_known_to_be_only_taskhubs() -> None:
    assert set(READERS) | OUTPUT_ONLY == set(_FIELDS)
    behaviors = {
        name: set(field.GetOptions().Extensions[field_behavior_pb2.field_behavior]) for name, field in _FIELDS.items()
    }
    only = {field_behavior_pb2.OUTPUT_ONLY, field_behavior_pb2.IDENTIFIER}
    assert {name for name, found in behaviors.items() if found & only} | {"etag"} == OUTPUT_ONLY | {"state"}
