"""Sessions know where they come from; lockouts, devices, and links to choose a password or to change the address.

Leaves the schema usable for the release before it: what it does not write has a default.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

KNOWS_ORIGIN = ("sessions", "registrations")
TARGET = """
CASE purpose WHEN 'change-email' THEN num_nonnulls(user_id, email, old_email) = 3
             ELSE num_nonnulls(user_id, email) = 1 AND old_email IS NULL END
"""


def _time(name: str, *, now: bool = False, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(
        name, sa.DateTime(timezone=True), nullable=nullable, server_default=sa.text("now()") if now else None
    )


def upgrade() -> None:
    op.add_column("users", sa.Column("password_version", sa.Integer(), server_default="1", nullable=False))
    op.create_check_constraint(op.f("users_password_version_check"), "users", "password_version > 0")
    for table in KNOWS_ORIGIN:
        op.add_column(table, sa.Column("address", sa.Text(), server_default="", nullable=False))
        op.add_column(table, sa.Column("user_agent", sa.Text(), server_default="", nullable=False))
        op.create_check_constraint(op.f(f"{table}_address_check"), table, "length(address) <= 45")
        op.create_check_constraint(op.f(f"{table}_user_agent_check"), table, "length(user_agent) <= 256")
    op.create_index("registrations_expire_time_idx", "registrations", ["expire_time"])
    op.add_column("sessions", _time("use_time", now=True))
    idle = sa.Column(
        "idle_expire_time", sa.DateTime(timezone=True), server_default=sa.text("now() + '14 days'"), nullable=False
    )
    op.add_column("sessions", idle)
    op.execute(
        """
        UPDATE sessions SET idle_expire_time = token.expire_time, use_time = token.create_time
        FROM (SELECT session_id, max(expire_time) AS expire_time, max(create_time) AS create_time
              FROM refresh_tokens GROUP BY session_id) AS token
        WHERE token.session_id = sessions.id
        """
    )
    op.drop_index("sessions_user_id_idx", table_name="sessions")
    op.create_index("sessions_user_id_idx", "sessions", ["user_id", "id"])
    op.create_index("sessions_idle_expire_time_idx", "sessions", ["idle_expire_time"])
    _create_links()
    op.create_table(
        "lockouts",
        sa.Column("subject", sa.LargeBinary(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        _time("update_time", now=True),
        _time("lock_time", nullable=True),
        sa.CheckConstraint("octet_length(subject) = 32", name=op.f("lockouts_subject_check")),
        sa.CheckConstraint("failures > 0", name=op.f("lockouts_failures_check")),
        sa.PrimaryKeyConstraint("subject", name=op.f("lockouts_pkey")),
    )
    op.create_index("lockouts_update_time_idx", "lockouts", ["update_time"])
    op.create_table(
        "devices",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        _time("create_time", now=True),
        _time("use_time", now=True),
        sa.CheckConstraint("octet_length(fingerprint) = 32", name=op.f("devices_fingerprint_check")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("devices_user_id_fkey"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("user_id", "fingerprint", name=op.f("devices_pkey")),
    )
    op.create_index("devices_use_time_idx", "devices", ["use_time"])


def _create_links() -> None:
    op.create_table(
        "links",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("old_email", sa.Text(), nullable=True),
        sa.Column("address", sa.Text(), server_default="", nullable=False),
        sa.Column("user_agent", sa.Text(), server_default="", nullable=False),
        _time("create_time", now=True),
        _time("expire_time"),
        _time("use_time", nullable=True),
        sa.CheckConstraint("length(address) <= 45", name=op.f("links_address_check")),
        sa.CheckConstraint("length(user_agent) <= 256", name=op.f("links_user_agent_check")),
        sa.CheckConstraint("purpose IN ('reset-password', 'change-email')", name=op.f("links_purpose_check")),
        sa.CheckConstraint(TARGET, name=op.f("links_target_check")),
        sa.CheckConstraint("expire_time > create_time", name=op.f("links_expire_time_check")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("links_user_id_fkey"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("links_pkey")),
    )
    op.create_index("links_user_id_idx", "links", ["user_id"], postgresql_where=sa.text("user_id IS NOT NULL"))
    op.create_index("links_email_idx", "links", ["email"], postgresql_where=sa.text("email IS NOT NULL"))
    op.create_index("links_expire_time_idx", "links", ["expire_time"])


def downgrade() -> None:
    for table in ("devices", "lockouts", "links"):
        op.drop_table(table)
    op.drop_index("sessions_idle_expire_time_idx", table_name="sessions")
    op.drop_index("sessions_user_id_idx", table_name="sessions")
    op.create_index("sessions_user_id_idx", "sessions", ["user_id"])
    op.drop_column("sessions", "idle_expire_time")
    op.drop_column("sessions", "use_time")
    op.drop_index("registrations_expire_time_idx", table_name="registrations")
    for table in KNOWS_ORIGIN:
        op.drop_column(table, "user_agent")
        op.drop_column(table, "address")
    op.drop_column("users", "password_version")
