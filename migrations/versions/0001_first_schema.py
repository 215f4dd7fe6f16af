"""The first schema: accounts, tasks, events, jobs and the idempotency record."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "event_counter",
        sa.Column("only_row", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("only_row", name=op.f("event_counter_only_row_check")),
        sa.PrimaryKeyConstraint("only_row", name=op.f("event_counter_pkey")),
    )
    op.create_table(
        "events",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("resource", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=True),
        sa.Column(
            "changes", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False
        ),
        sa.Column("create_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("kind ~ '^[a-z]+[.][a-z_]+$'", name=op.f("events_kind_check")),
        sa.CheckConstraint("position > 0", name=op.f("events_position_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("events_pkey")),
        sa.UniqueConstraint("position", name=op.f("events_position_key")),
    )
    op.create_index("events_resource_idx", "events", ["resource", "id"], unique=False)
    op.create_index(
        "events_unsequenced_idx", "events", ["id"], unique=False, postgresql_where=sa.text("position IS NULL")
    )
    op.create_table(
        "idempotency_records",
        sa.Column("principal", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("response", sa.LargeBinary(), nullable=True),
        sa.Column("create_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expire_time", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "expire_time >= create_time + interval '24 hours'", name=op.f("idempotency_records_expire_time_check")
        ),
        sa.CheckConstraint("length(key) BETWEEN 1 AND 255", name=op.f("idempotency_records_key_check")),
        sa.CheckConstraint("octet_length(fingerprint) = 32", name=op.f("idempotency_records_fingerprint_check")),
        sa.PrimaryKeyConstraint("principal", "method", "key", name=op.f("idempotency_records_pkey")),
    )
    op.create_index("idempotency_records_expire_time_idx", "idempotency_records", ["expire_time"], unique=False)
    op.create_table(
        "registrations",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("display_name", sa.Text(), server_default="", nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expire_time", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "email = lower(email) AND length(email) BETWEEN 3 AND 254", name=op.f("registrations_email_check")
        ),
        sa.CheckConstraint("expire_time > create_time", name=op.f("registrations_expire_time_check")),
        sa.CheckConstraint("length(display_name) <= 100", name=op.f("registrations_display_name_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("registrations_pkey")),
    )
    op.create_index("registrations_email_idx", "registrations", ["email", "id"], unique=False)
    op.create_table(
        "signing_keys",
        sa.Column("kid", sa.Text(), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.Column("sealed_private_key", sa.LargeBinary(), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("sign_from_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expire_time", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("octet_length(public_key) = 32", name=op.f("signing_keys_public_key_check")),
        sa.PrimaryKeyConstraint("kid", name=op.f("signing_keys_pkey")),
    )
    op.create_table(
        "users",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("display_name", sa.Text(), server_default="", nullable=False),
        sa.Column("role", sa.Text(), server_default="MEMBER", nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("role IN ('MEMBER', 'ADMIN')", name=op.f("users_role_check")),
        sa.CheckConstraint("email = lower(email) AND length(email) BETWEEN 3 AND 254", name=op.f("users_email_check")),
        sa.CheckConstraint("length(display_name) <= 100", name=op.f("users_display_name_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("users_pkey")),
        sa.UniqueConstraint("email", name=op.f("users_email_key")),
    )
    op.create_table(
        "sessions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expire_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoke_time", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("expire_time > create_time", name=op.f("sessions_expire_time_check")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("sessions_user_id_fkey"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("sessions_pkey")),
    )
    op.create_index(
        "sessions_revoke_time_idx",
        "sessions",
        ["revoke_time"],
        unique=False,
        postgresql_where=sa.text("revoke_time IS NOT NULL"),
    )
    op.create_index("sessions_user_id_idx", "sessions", ["user_id"], unique=False)
    op.create_table(
        "tasks",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("state", sa.Text(), server_default="TODO", nullable=False),
        sa.Column("priority", sa.SmallInteger(), server_default="2", nullable=False),
        sa.Column(
            "labels", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False
        ),
        sa.Column("due_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("complete_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("delete_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("purge_time", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("(state = 'DONE') = (complete_time IS NOT NULL)", name=op.f("tasks_complete_time_check")),
        sa.CheckConstraint("jsonb_typeof(labels) = 'object'", name=op.f("tasks_labels_check")),
        sa.CheckConstraint("state IN ('TODO', 'IN_PROGRESS', 'DONE', 'CANCELLED')", name=op.f("tasks_state_check")),
        sa.CheckConstraint("(delete_time IS NULL) = (purge_time IS NULL)", name=op.f("tasks_purge_time_check")),
        sa.CheckConstraint("length(description) <= 10000", name=op.f("tasks_description_check")),
        sa.CheckConstraint("length(title) BETWEEN 1 AND 200", name=op.f("tasks_title_check")),
        sa.CheckConstraint("priority BETWEEN 1 AND 4", name=op.f("tasks_priority_check")),
        sa.CheckConstraint("version > 0", name=op.f("tasks_version_check")),
        sa.ForeignKeyConstraint(["owner_id"], ["users.id"], name=op.f("tasks_owner_id_fkey"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("tasks_pkey")),
    )
    op.create_index("tasks_live_idx", "tasks", ["id"], unique=False, postgresql_where=sa.text("delete_time IS NULL"))
    op.create_index("tasks_owner_id_idx", "tasks", ["owner_id", "id"], unique=False)
    op.create_index(
        "tasks_owner_id_live_idx",
        "tasks",
        ["owner_id", "id"],
        unique=False,
        postgresql_where=sa.text("delete_time IS NULL"),
    )
    op.create_table(
        "jobs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column(
            "args", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False
        ),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("priority", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("state", sa.Text(), server_default="WAITING", nullable=False),
        sa.Column("attempt", sa.Integer(), server_default="0", nullable=False),
        sa.Column("max_attempts", sa.Integer(), nullable=False),
        sa.Column("schedule_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("rank", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("claim_token", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("lease_expire_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("session_pid", sa.Integer(), nullable=True),
        sa.Column("session_start_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("heartbeat_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("solo", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("cancel_requested", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("progress_fraction", sa.Double(), nullable=True),
        sa.Column("progress_note", sa.Text(), nullable=True),
        sa.Column("result", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("error", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("owner_id", sa.Uuid(), nullable=True),
        sa.Column("task_id", sa.Uuid(), nullable=True),
        sa.Column("traceparent", sa.Text(), nullable=True),
        sa.Column("create_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("start_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("end_time", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(state = 'RUNNING') = (lease_expire_time IS NOT NULL)", name=op.f("jobs_lease_expire_time_check")
        ),
        sa.CheckConstraint(
            "(state IN ('SUCCEEDED', 'FAILED', 'CANCELLED')) = (end_time IS NOT NULL)", name=op.f("jobs_end_time_check")
        ),
        sa.CheckConstraint("jsonb_typeof(args) = 'object'", name=op.f("jobs_args_check")),
        sa.CheckConstraint("kind ~ '^[a-z][a-z0-9_.]{0,62}$'", name=op.f("jobs_kind_check")),
        sa.CheckConstraint("queue ~ '^[a-z][a-z0-9_-]{0,62}$'", name=op.f("jobs_queue_check")),
        sa.CheckConstraint(
            "state IN ('WAITING', 'RUNNING', 'SUCCEEDED', 'FAILED', 'CANCELLED')", name=op.f("jobs_state_check")
        ),
        sa.CheckConstraint("attempt BETWEEN 0 AND max_attempts", name=op.f("jobs_attempt_check")),
        sa.CheckConstraint("max_attempts BETWEEN 1 AND 100", name=op.f("jobs_max_attempts_check")),
        sa.CheckConstraint("priority BETWEEN -100 AND 100", name=op.f("jobs_priority_check")),
        sa.CheckConstraint("progress_fraction BETWEEN 0 AND 1", name=op.f("jobs_progress_fraction_check")),
        sa.CheckConstraint("length(progress_note) <= 200", name=op.f("jobs_progress_note_check")),
        sa.ForeignKeyConstraint(["owner_id"], ["users.id"], name=op.f("jobs_owner_id_fkey"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["task_id"], ["tasks.id"], name=op.f("jobs_task_id_fkey"), ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name=op.f("jobs_pkey")),
    )
    op.create_index("jobs_failed_idx", "jobs", ["id"], unique=False, postgresql_where=sa.text("state = 'FAILED'"))
    op.create_index("jobs_kind_idx", "jobs", ["kind", "id"], unique=False)
    op.create_index(
        "jobs_lease_idx", "jobs", ["lease_expire_time"], unique=False, postgresql_where=sa.text("state = 'RUNNING'")
    )
    op.create_index("jobs_owner_id_idx", "jobs", ["owner_id", "id"], unique=False)
    op.create_index(
        "jobs_task_id_idx", "jobs", ["task_id"], unique=False, postgresql_where=sa.text("task_id IS NOT NULL")
    )
    op.create_index(
        "jobs_waiting_idx",
        "jobs",
        ["queue", "rank", "schedule_time", "id"],
        unique=False,
        postgresql_where=sa.text("state = 'WAITING'"),
    )
    op.create_table(
        "refresh_tokens",
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("session_id", sa.Uuid(), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expire_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("use_time", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("octet_length(token_hash) = 32", name=op.f("refresh_tokens_token_hash_check")),
        sa.ForeignKeyConstraint(
            ["session_id"], ["sessions.id"], name=op.f("refresh_tokens_session_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("refresh_tokens_pkey")),
    )
    op.create_index("refresh_tokens_session_id_idx", "refresh_tokens", ["session_id"], unique=False)
    op.create_table(
        "job_attempts",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("claim_token", sa.BigInteger(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), server_default="RUNNING", nullable=False),
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("start_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("end_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.CheckConstraint("(state = 'RUNNING') = (end_time IS NULL)", name=op.f("job_attempts_end_time_check")),
        sa.CheckConstraint(
            "state IN ('RUNNING', 'SUCCEEDED', 'FAILED', 'LOST', 'RELEASED')", name=op.f("job_attempts_state_check")
        ),
        sa.CheckConstraint("attempt > 0", name=op.f("job_attempts_attempt_check")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("job_attempts_job_id_fkey"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "claim_token", name=op.f("job_attempts_pkey")),
    )
    op.create_table(
        "job_steps",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("result", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("create_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("length(name) BETWEEN 1 AND 200", name=op.f("job_steps_name_check")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("job_steps_job_id_fkey"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "name", name=op.f("job_steps_pkey")),
    )
    op.execute("INSERT INTO event_counter (position) VALUES (0)")


def downgrade() -> None:
    op.drop_table("job_steps")
    op.drop_table("job_attempts")
    op.drop_index("refresh_tokens_session_id_idx", table_name="refresh_tokens")
    op.drop_table("refresh_tokens")
    op.drop_index("jobs_waiting_idx", table_name="jobs", postgresql_where=sa.text("state = 'WAITING'"))
    op.drop_index("jobs_task_id_idx", table_name="jobs", postgresql_where=sa.text("task_id IS NOT NULL"))
    op.drop_index("jobs_owner_id_idx", table_name="jobs")
    op.drop_index("jobs_lease_idx", table_name="jobs", postgresql_where=sa.text("state = 'RUNNING'"))
    op.drop_index("jobs_kind_idx", table_name="jobs")
    op.drop_index("jobs_failed_idx", table_name="jobs", postgresql_where=sa.text("state = 'FAILED'"))
    op.drop_table("jobs")
    op.drop_index("tasks_owner_id_live_idx", table_name="tasks", postgresql_where=sa.text("delete_time IS NULL"))
    op.drop_index("tasks_owner_id_idx", table_name="tasks")
    op.drop_index("tasks_live_idx", table_name="tasks", postgresql_where=sa.text("delete_time IS NULL"))
    op.drop_table("tasks")
    op.drop_index("sessions_user_id_idx", table_name="sessions")
    op.drop_index(
        "sessions_revoke_time_idx", table_name="sessions", postgresql_where=sa.text("revoke_time IS NOT NULL")
    )
    op.drop_table("sessions")
    op.drop_table("users")
    op.drop_table("signing_keys")
    op.drop_index("registrations_email_idx", table_name="registrations")
    op.drop_table("registrations")
    op.drop_index("idempotency_records_expire_time_idx", table_name="idempotency_records")
    op.drop_table("idempotency_records")
    op.drop_index("events_unsequenced_idx", table_name="events", postgresql_where=sa.text("position IS NULL"))
    op.drop_index("events_resource_idx", table_name="events")
    op.drop_table("events")
    op.drop_table("event_counter")
