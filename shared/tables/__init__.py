"""The schema: what Alembic compares with, a module a part.

The rules of the contract stand here once more as constraints, so that no process can write what the rules refuse. Each
index names the query that it stands behind.
"""

from __future__ import annotations

from shared.tables import accounts, events, idempotency, jobs, sign_in, tasks
from shared.tables.columns import metadata

__all__ = ["accounts", "events", "idempotency", "jobs", "metadata", "sign_in", "tasks"]
