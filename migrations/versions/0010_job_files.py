"""Files of jobs, what exports write and imports read, and the keys by which lines of imports are known."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "job_files",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=True),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("content_type", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.Column("sha256", sa.LargeBinary(), nullable=True),
        sa.Column("create_time", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("role IN ('INPUT', 'RESULT')", name=op.f("job_files_role_check")),
        sa.CheckConstraint("length(name) BETWEEN 1 AND 200", name=op.f("job_files_name_check")),
        sa.CheckConstraint("length(content_type) BETWEEN 1 AND 200", name=op.f("job_files_content_type_check")),
        sa.CheckConstraint("size >= 0", name=op.f("job_files_size_check")),
        sa.CheckConstraint("octet_length(sha256) = 32", name=op.f("job_files_sha256_check")),
        sa.CheckConstraint("(size IS NULL) = (sha256 IS NULL)", name=op.f("job_files_complete_check")),
        sa.CheckConstraint("job_id IS NOT NULL OR role = 'INPUT'", name=op.f("job_files_job_id_check")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("job_files_job_id_fkey"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("job_files_pkey")),
        sa.UniqueConstraint("job_id", "role", name=op.f("job_files_job_id_key")),
    )
    op.create_index(
        "job_files_abandoned_idx",
        "job_files",
        ["create_time"],
        unique=False,
        postgresql_where=sa.text("job_id IS NULL"),
    )
    op.create_table(
        "job_file_chunks",
        sa.Column("file_id", sa.Uuid(), nullable=False),
        sa.Column("start", sa.BigInteger(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("start >= 0", name=op.f("job_file_chunks_start_check")),
        sa.CheckConstraint("octet_length(data) BETWEEN 1 AND 1048576", name=op.f("job_file_chunks_data_check")),
        sa.ForeignKeyConstraint(
            ["file_id"], ["job_files.id"], name=op.f("job_file_chunks_file_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("file_id", "start", name=op.f("job_file_chunks_pkey")),
    )
    # Compressing takes longer than writing, and would have to be undone to read from the middle.
    op.execute("ALTER TABLE job_file_chunks ALTER COLUMN data SET STORAGE EXTERNAL")
    op.create_table(
        "import_keys",
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("task_id", sa.Uuid(), nullable=False),
        sa.CheckConstraint("length(key) BETWEEN 1 AND 255", name=op.f("import_keys_key_check")),
        sa.ForeignKeyConstraint(["task_id"], ["tasks.id"], name=op.f("import_keys_task_id_fkey"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("owner_id", "key", name=op.f("import_keys_pkey")),
    )
    op.create_index("import_keys_task_id_idx", "import_keys", ["task_id"], unique=False)


def downgrade() -> None:
    op.drop_index("import_keys_task_id_idx", table_name="import_keys")
    op.drop_table("import_keys")
    op.drop_table("job_file_chunks")
    op.drop_index("job_files_abandoned_idx", table_name="job_files", postgresql_where=sa.text("job_id IS NULL"))
    op.drop_table("job_files")
