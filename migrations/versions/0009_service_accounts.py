"""Services have accounts, and keys to sign in with."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def _time(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=True)


def _now(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False)


def upgrade() -> None:
    op.create_table(
        "service_accounts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("display_name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("scopes", postgresql.ARRAY(sa.Text()), nullable=False),
        _now("create_time"),
        _now("update_time"),
        _time("disable_time"),
        _time("delete_time"),
        _time("purge_time"),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.CheckConstraint("length(display_name) BETWEEN 1 AND 100", name=op.f("service_accounts_display_name_check")),
        sa.CheckConstraint("length(description) <= 1000", name=op.f("service_accounts_description_check")),
        sa.CheckConstraint("cardinality(scopes) <= 32", name=op.f("service_accounts_scopes_check")),
        sa.CheckConstraint("version > 0", name=op.f("service_accounts_version_check")),
        sa.CheckConstraint(
            "(delete_time IS NULL) = (purge_time IS NULL)", name=op.f("service_accounts_purge_time_check")
        ),
        sa.ForeignKeyConstraint(
            ["id"],
            ["principals.id"],
            name=op.f("service_accounts_id_fkey"),
            ondelete="CASCADE",
            deferrable=True,
            initially="DEFERRED",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("service_accounts_pkey")),
    )
    op.execute(
        "CREATE TRIGGER principal AFTER INSERT ON service_accounts"
        " FOR EACH ROW EXECUTE FUNCTION make_principal('serviceAccounts')"
    )
    op.create_table(
        "service_account_keys",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("service_account_id", sa.Uuid(), nullable=False),
        sa.Column("display_name", sa.Text(), server_default="", nullable=False),
        sa.Column("secret_hash", sa.LargeBinary(), nullable=False),
        _now("create_time"),
        _time("expire_time"),
        _time("last_use_time"),
        _time("last_refuse_time"),
        _time("revoke_time"),
        sa.CheckConstraint("length(display_name) <= 100", name=op.f("service_account_keys_display_name_check")),
        sa.CheckConstraint("octet_length(secret_hash) = 32", name=op.f("service_account_keys_secret_hash_check")),
        sa.CheckConstraint("expire_time > create_time", name=op.f("service_account_keys_expire_time_check")),
        sa.ForeignKeyConstraint(
            ["service_account_id"],
            ["service_accounts.id"],
            name=op.f("service_account_keys_service_account_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("service_account_keys_pkey")),
    )
    op.create_index("service_account_keys_service_account_id_idx", "service_account_keys", ["service_account_id", "id"])
    for table, column in (
        ("service_account_keys", "revoke_time"),
        ("service_accounts", "disable_time"),
        ("service_accounts", "purge_time"),
    ):
        op.create_index(f"{table}_{column}_idx", table, [column], postgresql_where=sa.text(f"{column} IS NOT NULL"))


def downgrade() -> None:
    # With all that they own: the release before knows no owner but users.
    op.execute("DELETE FROM principals WHERE kind = 'serviceAccounts'")
    op.drop_table("service_account_keys")
    op.drop_table("service_accounts")
