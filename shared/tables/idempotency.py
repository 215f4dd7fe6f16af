"""What was answered to which key."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, Index, LargeBinary, Table, Text

from shared.tables.columns import metadata, moment, now

idempotency_records = Table(
    "idempotency_records",
    metadata,
    Column("principal", Text, primary_key=True),
    Column("method", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("fingerprint", LargeBinary, nullable=False),
    # Absent only inside the transaction that is still making it.
    Column("response", LargeBinary, nullable=True),
    now("create_time"),
    moment("expire_time"),
    CheckConstraint("length(key) BETWEEN 1 AND 255", name="key"),
    CheckConstraint("octet_length(fingerprint) = 32", name="fingerprint"),
    CheckConstraint("expire_time >= create_time + interval '24 hours'", name="expire_time"),
    Index("idempotency_records_expire_time_idx", "expire_time"),  # housekeeping
)
