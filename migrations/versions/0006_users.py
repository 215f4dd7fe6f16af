"""Accounts of people can be disabled and deleted, and have an etag.

The release before goes on working: it only reads and writes accounts that are active.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

DELETED = """
CASE WHEN delete_time IS NULL THEN email IS NOT NULL ELSE email IS NULL AND password_hash || display_name = '' END
"""


def upgrade() -> None:
    for name in ("disable_time", "delete_time", "purge_time"):
        op.add_column("users", sa.Column(name, sa.DateTime(timezone=True), nullable=True))
    op.add_column("users", sa.Column("version", sa.Integer(), server_default="1", nullable=False))
    op.alter_column("users", "email", nullable=True)
    op.create_check_constraint(op.f("users_version_check"), "users", "version > 0")
    op.create_check_constraint(op.f("users_delete_time_check"), "users", DELETED)
    op.create_check_constraint(op.f("users_purge_time_check"), "users", "(delete_time IS NULL) = (purge_time IS NULL)")
    op.create_index("users_admins_idx", "users", ["id"], postgresql_where=sa.text("role = 'ADMIN'"))
    op.create_index("users_purge_time_idx", "users", ["purge_time"], postgresql_where=sa.text("purge_time IS NOT NULL"))


def downgrade() -> None:
    # The release before knows no account without an address, and would let disabled ones in.
    op.execute("DELETE FROM principals USING users WHERE users.id = principals.id AND delete_time IS NOT NULL")
    op.execute("UPDATE users SET password_hash = '' WHERE disable_time IS NOT NULL")
    op.drop_index("users_purge_time_idx", table_name="users")
    op.drop_index("users_admins_idx", table_name="users")
    op.drop_constraint(op.f("users_purge_time_check"), "users", type_="check")
    op.drop_constraint(op.f("users_delete_time_check"), "users", type_="check")
    op.drop_constraint(op.f("users_version_check"), "users", type_="check")
    op.alter_column("users", "email", nullable=False)
    for name in ("version", "purge_time", "delete_time", "disable_time"):
        op.drop_column("users", name)
