"""Small conversions between rows and messages that several servicers need."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def set_time(field: Timestamp, value: datetime | None) -> None:
    """Fills a timestamp field, or leaves it absent."""
    if value is not None:
        since = value - _EPOCH
        field.seconds = since.days * 86400 + since.seconds
        field.nanos = since.microseconds * 1000


def get_time(field: Timestamp) -> datetime:
    """Returns the time, rounded down to the microsecond that PostgreSQL keeps."""
    return _EPOCH + timedelta(seconds=field.seconds, microseconds=field.nanos // 1000)
