"""Let the tokens of a service account that was disabled stay dead when it is enabled again."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("service_accounts", sa.Column("token_generation", sa.Integer(), server_default="0", nullable=False))
    op.add_column("service_accounts", sa.Column("token_end_time", sa.DateTime(timezone=True), nullable=True))
    op.create_check_constraint("token_generation", "service_accounts", "token_generation >= 0")
    op.create_index(
        "service_accounts_token_end_time_idx",
        "service_accounts",
        ["token_end_time"],
        postgresql_where=sa.text("token_end_time IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_column("service_accounts", "token_end_time")
    op.drop_column("service_accounts", "token_generation")
