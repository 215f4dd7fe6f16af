"""The log of what changed."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Identity,
    Index,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from shared.tables.columns import metadata, now

events = Table(
    "events",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    # Given by the sequencer after the commit, contiguous from 1: what readers of the log remember.
    Column("position", BigInteger, nullable=True),
    Column("kind", Text, nullable=False),
    Column("resource", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("owner_id", Uuid, nullable=True),
    Column("changes", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    now("create_time"),
    # The caller's address and user agent, where the event belongs to the audit of an account.
    Column("context", JSONB, nullable=True),
    # What a task was after the change, as far as watches can be filtered by it; a new one's changes say the same.
    Column("subject", JSONB, nullable=True),
    UniqueConstraint("position"),
    CheckConstraint("kind ~ '^[a-z]+[.][a-z_]+$'", name="kind"),
    CheckConstraint("position > 0", name="position"),
    CheckConstraint("jsonb_typeof(context) = 'object'", name="context"),
    CheckConstraint("jsonb_typeof(subject) = 'object'", name="subject"),
    Index("events_resource_idx", "resource", "id"),  # history of one resource
    Index("events_context_idx", "id", postgresql_where=text("context IS NOT NULL")),  # housekeeping
    Index("events_unsequenced_idx", "id", postgresql_where=text("position IS NULL")),  # the sequencer
)

# The last position given out. Not max(position): purging old events would set that back.
event_counter = Table(
    "event_counter",
    metadata,
    Column("only_row", Boolean, primary_key=True, server_default=text("true")),
    Column("position", BigInteger, nullable=False),
    # Up to which position events are no longer all there: whoever remembers an older one would miss some.
    Column("purged", BigInteger, nullable=False, server_default="0"),
    CheckConstraint("only_row", name="only_row"),
    CheckConstraint("purged BETWEEN 0 AND position", name="purged"),
)
