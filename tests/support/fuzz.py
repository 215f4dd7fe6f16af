"""Messages that nobody would send on purpose: random ones of the contract's types, and good ones changed somewhere.

Everything comes from one seeded `Random`, so that a run can be repeated.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

#: White space, controls, line separators, direction marks, characters of one to four bytes, and what other parsers eat.
TEXTS = (
    "", " ", "   ", "\t", "\x00", "\x7f", "\r\nBcc: eve@example.com", "\u2028", "\u2029", "\u00a0", "\u200b",
    "\ufeff", "\u202eabc", "e\u0301", "\U0001f469\u200d\U0001f4bb", "\U0010ffff", "\ufffe", "\u0130",
    "\u00df", "title", "me", "-", "*", ":", "/", "%", "%00", "..", "\\", "'", '"', "'; DROP TABLE tasks; --",
    "{}", "[]", "null", "0", "-1", "1e400", "9" * 400, "a" * 201, "b" * 10_001, "\u2028" * 200, "(" * 500,
    "NOT " * 300, "a@b.c", "a@\u2028.com", "a@" + "b" * 300, "users/me", "tasks/-", "tasks/", "users/x",
    "AAAA", "eyJhbGciOiJub25lIn0.e30.", 'state = "TODO"', "state:", "a.b.c = 1",
    'create_time > "0001-01-01T00:00:00Z"', 'due_time < "9999-12-31T23:59:59.999999999Z" OR NOT labels.a:*',
    "-title", "create_time desc, title", "display_name", "title,", "task.title", "labels.\u2028",
    "2024-02-30T25:61:61Z", '"1"', 'W/"1"',
)  # fmt: skip
NUMBERS = (0, 1, 2, -1, 10, 100, 1000, 1001, 2**31 - 1, -(2**31), 2**31, 2**32, 2**53, 2**63 - 1, -(2**63))
REALS = (0.0, -0.0, 0.5, 1.0, 1e308, -1e308, 5e-324, float("nan"), float("inf"), float("-inf"))
#: Of timestamps and durations: their edges, just beyond them, and what overflows.
SECONDS = (0, 1, -1, 1_700_000_000, -62_135_596_800, -62_135_596_801, 253_402_300_799, 253_402_300_800, 315_576_000_000,
           -315_576_000_001, 2**63 - 1, -(2**63))  # fmt: skip
NANOS = (0, 1, -1, 999_999_999, 1_000_000_000, -999_999_999, 2**31 - 1, -(2**31))
DEPTH = 4

#: A descriptor is of one of two classes, whose types differ.
Field = Any


class Fuzzer:
    """Makes messages. `names` are of resources that exist, of the caller and of others."""

    def __init__(self, seed: int, names: Sequence[str]) -> None:
        self.random = Random(seed)  # noqa: S311  nothing secret
        self._names = names

    def message(self, kind: type[Message]) -> Message:
        """Returns a message of which anything may be set."""
        message = kind()
        self._fill(message, DEPTH)
        return message

    def changed(self, good: bytes, kind: type[Message]) -> Message:
        """Returns a good message in which one to three fields, at any depth, are something else."""
        message = kind.FromString(good)
        for _ in range(self.random.randint(1, 3)):
            self._change(message)
        return message

    def bent(self, good: bytes) -> bytes:
        """Returns the bytes of a good message with some flipped, cut, doubled or slipped in."""
        data = bytearray(good or b"\x0a\x00")
        for _ in range(self.random.randint(1, 4)):
            at = self.random.randrange(len(data) + 1)
            match self.random.randrange(5):
                case 0 if at < len(data):
                    data[at] ^= 1 << self.random.randrange(8)
                case 1:
                    del data[at : at + self.random.randint(1, 8)]
                case 2:
                    data[at:at] = data[at : at + 16]
                case 3:
                    data[at:at] = self.random.choice(
                        (b"\xed\xa0\x80", b"\xff", b"\x00", b"\xc3\x28", b"\x0a\xff\xff\xff\xff\x0f")
                    )
                case _:
                    data[at:at] = self.random.randbytes(self.random.randint(1, 12))
        return bytes(data)

    def text(self) -> str:
        """Returns something to be taken for a name, a title, an address or a filter."""
        match self.random.randrange(10):
            case 0 | 1 | 2:
                return self.random.choice(self._names)
            case 3:
                collection = self.random.choice(("tasks", "users", "jobs", "sessions"))
                return f"{collection}/{uuid.UUID(int=self.random.getrandbits(128))}"
            case 4:
                return self.random.choice(TEXTS) + self.random.choice(TEXTS)
            case 5:
                return "".join(chr(self._character()) for _ in range(self.random.randint(1, 20)))
            case _:
                return self.random.choice(TEXTS)

    def _character(self) -> int:
        point = self.random.choice((0x20, 0x7F, 0x2FF, 0x2FFF, 0xD7FF, 0x10FFFF))
        found = self.random.randint(0, point)
        return found if not 0xD800 <= found <= 0xDFFF else 0xFFFD  # Python cannot write the others; `bent` does

    def _fill(self, message: Message, depth: int) -> None:
        for field in message.DESCRIPTOR.fields:
            if self.random.random() < (0.6 if depth == DEPTH else 0.4):
                self._set(message, field, depth)

    def _change(self, message: Message) -> None:
        fields: list[Field] = list(message.DESCRIPTOR.fields)
        if not fields:
            return
        field: Field = self.random.choice(fields)
        value: Any = getattr(message, field.name)
        if field.message_type and not field.is_repeated and message.HasField(field.name) and self.random.random() < 0.7:
            self._change(value)
        elif (
            field.is_repeated
            and field.message_type
            and not _is_map(field)
            and len(value)
            and self.random.random() < 0.7
        ):
            self._change(self.random.choice(value))
        elif self.random.random() < 0.2:
            message.ClearField(field.name)
        else:
            self._set(message, field, DEPTH - 1)

    def _set(self, message: Message, field: Field, depth: int) -> None:
        if not depth and field.message_type:
            return
        if _is_map(field):
            self._set_map(getattr(message, field.name), field.message_type, depth)
        elif field.is_repeated:
            self._set_list(getattr(message, field.name), field, depth)
        elif field.message_type:
            self._set_message(getattr(message, field.name), depth)
        else:
            setattr(message, field.name, self._scalar(field))

    def _set_map(self, entries: Any, entry: Field, depth: int) -> None:
        value = entry.fields_by_name["value"]
        for _ in range(self.random.choice((0, 1, 2, 70))):
            key = self._scalar(entry.fields_by_name["key"])
            if value.message_type:
                self._set_message(entries[key], depth)
            else:
                entries[key] = self._scalar(value)

    def _set_list(self, items: Any, field: Field, depth: int) -> None:
        count = self.random.choice((0, 1, 1, 2, 3, 40))
        for _ in range(count if depth > 1 else min(count, 2)):
            if field.message_type:
                self._set_message(items.add(), depth)
            else:
                items.append(self._scalar(field))

    def _set_message(self, message: Any, depth: int) -> None:
        message.SetInParent()
        match message.DESCRIPTOR.full_name:
            case "google.protobuf.Timestamp" | "google.protobuf.Duration":
                message.seconds, message.nanos = self.random.choice(SECONDS), self.random.choice(NANOS)
            case "google.protobuf.Struct" if self.random.random() < 0.1:
                self._nest(message)
            case _:
                self._fill(message, depth - 1)

    def _nest(self, message: Any) -> None:
        """Nests as deep as the library can carry, and deeper than JSON may."""
        for _ in range(self.random.choice((20, 45))):
            message = message.get_or_create_struct("a")

    def _scalar(self, field: Field) -> Any:
        make: Callable[[], Any] = {
            FieldDescriptor.CPPTYPE_STRING: self.text,
            FieldDescriptor.CPPTYPE_BOOL: lambda: self.random.random() < 0.5,
            FieldDescriptor.CPPTYPE_DOUBLE: lambda: self.random.choice(REALS),
            FieldDescriptor.CPPTYPE_FLOAT: lambda: self.random.choice((0.0, 0.5, float("nan"), float("inf"))),
            FieldDescriptor.CPPTYPE_ENUM: lambda: self._enum(field),
        }.get(field.cpp_type, lambda: self._number(field))
        found = make()
        return found.encode() if field.type == FieldDescriptor.TYPE_BYTES else found

    def _enum(self, field: Field) -> int:
        known = [value.number for value in field.enum_type.values]
        return int(self.random.choice([*known, *known, 99, -1, 2**31 - 1]))

    def _number(self, field: Field) -> int:
        bits = 32 if field.cpp_type in {FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_UINT32} else 64
        signed = field.cpp_type in {FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_INT64}
        low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
        return int(min(max(self.random.choice(NUMBERS), low), high))


def _is_map(field: Field) -> bool:
    return bool(field.message_type and field.message_type.GetOptions().map_entry)
