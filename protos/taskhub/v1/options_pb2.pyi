from google.protobuf import descriptor_pb2 as _descriptor_pb2
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor
ACCESS_FIELD_NUMBER: _ClassVar[int]
access: _descriptor.FieldDescriptor
IGNORES_IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
ignores_idempotency_key: _descriptor.FieldDescriptor
RATE_LIMIT_FIELD_NUMBER: _ClassVar[int]
rate_limit: _descriptor.FieldDescriptor

class AccessRule(_message.Message):
    __slots__ = ("kind", "scope")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[AccessRule.Kind]
        PUBLIC: _ClassVar[AccessRule.Kind]
        ANY_ACCOUNT: _ClassVar[AccessRule.Kind]
        SCOPE: _ClassVar[AccessRule.Kind]
        ADMIN: _ClassVar[AccessRule.Kind]
    KIND_UNSPECIFIED: AccessRule.Kind
    PUBLIC: AccessRule.Kind
    ANY_ACCOUNT: AccessRule.Kind
    SCOPE: AccessRule.Kind
    ADMIN: AccessRule.Kind
    KIND_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    kind: AccessRule.Kind
    scope: str
    def __init__(self, kind: _Optional[_Union[AccessRule.Kind, str]] = ..., scope: _Optional[str] = ...) -> None: ...

class RateLimit(_message.Message):
    __slots__ = ()
    class Class(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        CLASS_UNSPECIFIED: _ClassVar[RateLimit.Class]
        READ: _ClassVar[RateLimit.Class]
        WRITE: _ClassVar[RateLimit.Class]
        SIGN_IN: _ClassVar[RateLimit.Class]
        MAIL: _ClassVar[RateLimit.Class]
    CLASS_UNSPECIFIED: RateLimit.Class
    READ: RateLimit.Class
    WRITE: RateLimit.Class
    SIGN_IN: RateLimit.Class
    MAIL: RateLimit.Class
    def __init__(self) -> None: ...
