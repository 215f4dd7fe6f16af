"""Jobs, their attempts and steps, and the files that they read or leave behind."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from shared.tables.columns import metadata, moment, now, owner

jobs = Table(
    "jobs",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("args", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    Column("queue", Text, nullable=False),
    Column("priority", SmallInteger, nullable=False, server_default="0"),
    Column("state", Text, nullable=False, server_default="WAITING"),
    Column("attempt", Integer, nullable=False, server_default="0"),
    Column("max_attempts", Integer, nullable=False),
    now("schedule_time"),
    # schedule_time less a bonus for priority: the order of claims, and aging for free.
    now("rank"),
    # The fence: rises with every claim and never falls. A finish that names an older one changes nothing.
    Column("claim_token", BigInteger, nullable=False, server_default="0"),
    moment("lease_expire_time", nullable=True),
    # Who runs it, or ran it last: "host:pid".
    Column("worker", Text, nullable=True),
    # The database session that claimed it, and when its worker last gave a sign of life: a session that is gone ends
    # the lease early.
    Column("session_pid", Integer, nullable=True),
    moment("session_start_time", nullable=True),
    moment("heartbeat_time", nullable=True),
    # It is claimed alone, or has to be the next time: whoever was lost with others may have been the cause.
    Column("solo", Boolean, nullable=False, server_default=text("false")),
    Column("cancel_requested", Boolean, nullable=False, server_default=text("false")),
    Column("progress_fraction", Double, nullable=True),
    Column("progress_note", Text, nullable=True),
    Column("result", JSONB, nullable=True),
    # google.rpc.Status of the last failure: {"code": 14, "message": "…", "reason": "…"}
    Column("error", JSONB, nullable=True),
    *owner(nullable=True),
    Column("task_id", Uuid, ForeignKey("tasks.id", ondelete="SET NULL"), nullable=True),
    # W3C trace context of the call that caused it
    Column("traceparent", Text, nullable=True),
    now("create_time"),
    moment("start_time", nullable=True),
    moment("end_time", nullable=True),
    CheckConstraint("kind ~ '^[a-z][a-z0-9_.]{0,62}$'", name="kind"),
    CheckConstraint("queue ~ '^[a-z][a-z0-9_-]{0,62}$'", name="queue"),
    CheckConstraint("jsonb_typeof(args) = 'object'", name="args"),
    CheckConstraint("priority BETWEEN -100 AND 100", name="priority"),
    CheckConstraint("state IN ('WAITING', 'RUNNING', 'SUCCEEDED', 'FAILED', 'CANCELLED')", name="state"),
    CheckConstraint("max_attempts BETWEEN 1 AND 100", name="max_attempts"),
    CheckConstraint("attempt BETWEEN 0 AND max_attempts", name="attempt"),
    CheckConstraint("(state = 'RUNNING') = (lease_expire_time IS NOT NULL)", name="lease_expire_time"),
    CheckConstraint("(state IN ('SUCCEEDED', 'FAILED', 'CANCELLED')) = (end_time IS NOT NULL)", name="end_time"),
    CheckConstraint("progress_fraction BETWEEN 0 AND 1", name="progress_fraction"),
    CheckConstraint("length(progress_note) <= 200", name="progress_note"),
    # claim and dispatch: what waits in a queue, in order of rank; what is not due is passed over within the index
    Index("jobs_waiting_idx", "queue", "rank", "schedule_time", "id", postgresql_where=text("state = 'WAITING'")),
    # reaper: leases that ended
    Index("jobs_lease_idx", "lease_expire_time", postgresql_where=text("state = 'RUNNING'")),
    Index("jobs_owner_id_idx", "owner_id", "id"),  # ListJobs of one owner; deleting a principal
    Index("jobs_kind_idx", "kind", "id"),  # ListJobs by kind
    # ListJobs by the state FAILED
    Index("jobs_failed_idx", "id", postgresql_where=text("state = 'FAILED'")),
    # deleting a task
    Index("jobs_task_id_idx", "task_id", postgresql_where=text("task_id IS NOT NULL")),
)

# Attempts that ended without success; the present one, and the one that succeeded, is the job's own row.
job_attempts = Table(
    "job_attempts",
    metadata,
    Column("job_id", Uuid, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("claim_token", BigInteger, primary_key=True),  # ListJobAttempts, in this order
    Column("attempt", Integer, nullable=False),
    Column("state", Text, nullable=False, server_default="RUNNING"),
    Column("worker", Text, nullable=False),
    now("start_time"),
    moment("end_time", nullable=True),
    Column("error", JSONB, nullable=True),
    CheckConstraint("attempt > 0", name="attempt"),
    CheckConstraint("state IN ('RUNNING', 'SUCCEEDED', 'FAILED', 'LOST', 'RELEASED')", name="state"),
    CheckConstraint("(state = 'RUNNING') = (end_time IS NULL)", name="end_time"),
)

# What the steps of a job returned, so that a later attempt goes on where the last one ended.
job_steps = Table(
    "job_steps",
    metadata,
    Column("job_id", Uuid, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("result", JSONB, nullable=True),
    now("create_time"),
    CheckConstraint("length(name) BETWEEN 1 AND 200", name="name"),
)

# A file that a job reads or leaves behind. One without a job is an upload that no import has taken over yet.
job_files = Table(
    "job_files",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("job_id", Uuid, ForeignKey("jobs.id", ondelete="CASCADE"), nullable=True),
    Column("role", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("content_type", Text, nullable=False),
    # Both absent until the file is complete; nobody reads it before.
    Column("size", BigInteger, nullable=True),
    Column("sha256", LargeBinary, nullable=True),
    now("create_time"),
    UniqueConstraint("job_id", "role"),  # ReadJobResult; deleting a job
    CheckConstraint("role IN ('INPUT', 'RESULT')", name="role"),
    CheckConstraint("length(name) BETWEEN 1 AND 200", name="name"),
    CheckConstraint("length(content_type) BETWEEN 1 AND 200", name="content_type"),
    CheckConstraint("size >= 0", name="size"),
    CheckConstraint("octet_length(sha256) = 32", name="sha256"),
    CheckConstraint("(size IS NULL) = (sha256 IS NULL)", name="complete"),
    CheckConstraint("job_id IS NOT NULL OR role = 'INPUT'", name="job_id"),
    # housekeeping: uploads that nobody took over
    Index("job_files_abandoned_idx", "create_time", postgresql_where=text("job_id IS NULL")),
)

# The bytes of a file, in the order of the position of each chunk's first byte.
job_file_chunks = Table(
    "job_file_chunks",
    metadata,
    Column("file_id", Uuid, ForeignKey("job_files.id", ondelete="CASCADE"), primary_key=True),
    Column("start", BigInteger, primary_key=True),
    Column("data", LargeBinary, nullable=False),
    CheckConstraint("start >= 0", name="start"),
    CheckConstraint("octet_length(data) BETWEEN 1 AND 1048576", name="data"),
)
