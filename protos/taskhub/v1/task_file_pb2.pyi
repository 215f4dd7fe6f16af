from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar

DESCRIPTOR: _descriptor.FileDescriptor

class TaskFile(_message.Message):
    __slots__ = ()
    class Format(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        FORMAT_UNSPECIFIED: _ClassVar[TaskFile.Format]
        CSV: _ClassVar[TaskFile.Format]
        NDJSON: _ClassVar[TaskFile.Format]
    FORMAT_UNSPECIFIED: TaskFile.Format
    CSV: TaskFile.Format
    NDJSON: TaskFile.Format
    def __init__(self) -> None: ...
