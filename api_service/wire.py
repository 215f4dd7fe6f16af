"""Small conversions between rows and messages that several servicers need."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def set_time(field: Timestamp, value: datetime | None) -> None:
    """Fills a timestamp field, or leaves it absent."""
    if value is not None:
        seconds, micros = divmod((value - _EPOCH) // _MICROSECOND, 1_000_000)
        field.seconds = seconds
        field.nanos = micros * 1000


def get_time(field: Timestamp) -> datetime:
    """Returns the time, rounded down to the microsecond that PostgreSQL keeps."""
    return _EPOCH + timedelta(seconds=field.seconds, microseconds=field.nanos // 1000)
