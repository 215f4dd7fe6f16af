"""Whoever can own things is a principal: a user, and from now on a service account too."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

#: Writes the principal of a new account. Its argument is the kind, the same for the whole table.
MAKE_PRINCIPAL = """
CREATE FUNCTION make_principal() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO principals (id, kind) VALUES (NEW.id, TG_ARGV[0]);
    RETURN NULL;
END
$$
"""


def upgrade() -> None:
    op.create_table(
        "principals",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.CheckConstraint("kind IN ('users', 'serviceAccounts')", name=op.f("principals_kind_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("principals_pkey")),
        sa.UniqueConstraint("id", "kind", name=op.f("principals_id_key")),
    )
    # Nobody registers between the copy and the trigger.
    op.execute("LOCK TABLE users IN SHARE ROW EXCLUSIVE MODE")
    op.execute("INSERT INTO principals (id, kind) SELECT id, 'users' FROM users")
    op.execute(MAKE_PRINCIPAL)
    # The release that is still running writes users alone. After the row, not before it: a row that turns out to be
    # there already (ON CONFLICT) would leave a principal behind.
    op.execute("CREATE TRIGGER principal AFTER INSERT ON users FOR EACH ROW EXECUTE FUNCTION make_principal('users')")
    op.create_foreign_key(
        op.f("users_id_fkey"),
        "users",
        "principals",
        ["id"],
        ["id"],
        ondelete="CASCADE",
        deferrable=True,
        initially="DEFERRED",
    )
    for table in ("tasks", "jobs"):
        op.add_column(table, sa.Column("owner_kind", sa.Text(), server_default="users", nullable=False))
        op.drop_constraint(op.f(f"{table}_owner_id_fkey"), table, type_="foreignkey")
        op.create_foreign_key(
            op.f(f"{table}_owner_id_fkey"),
            table,
            "principals",
            ["owner_id", "owner_kind"],
            ["id", "kind"],
            ondelete="CASCADE",
        )


def downgrade() -> None:
    for table in ("jobs", "tasks"):
        op.drop_constraint(op.f(f"{table}_owner_id_fkey"), table, type_="foreignkey")
        op.execute(f"DELETE FROM {table} WHERE owner_kind <> 'users'")
        op.drop_column(table, "owner_kind")
        op.create_foreign_key(op.f(f"{table}_owner_id_fkey"), table, "users", ["owner_id"], ["id"], ondelete="CASCADE")
    op.drop_constraint(op.f("users_id_fkey"), "users", type_="foreignkey")
    op.execute("DROP TRIGGER principal ON users")
    op.execute("DROP FUNCTION make_principal()")
    op.drop_table("principals")
