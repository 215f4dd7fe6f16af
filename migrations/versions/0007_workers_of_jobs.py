"""A job's row says who runs it: the attempt that runs, or that succeeded, needs no row of its own any more.

Leaves the schema usable for the release before it, which writes its attempts as before.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("worker", sa.Text(), nullable=True))


def downgrade() -> None:
    # The release before looks for running attempts, and for those that succeeded, among the rows of attempts.
    op.execute(
        """
        INSERT INTO job_attempts (job_id, claim_token, attempt, state, worker, start_time, end_time)
        SELECT id, claim_token, attempt, state, worker, coalesce(start_time, create_time), end_time FROM jobs
        WHERE state IN ('RUNNING', 'SUCCEEDED') AND worker IS NOT NULL ON CONFLICT DO NOTHING
        """
    )
    op.drop_column("jobs", "worker")
