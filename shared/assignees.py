"""Who a task can be assigned to, in SQL: what both services ask."""

from __future__ import annotations

#: The accounts among `ids` that are there and not disabled, each with its kind; none of them can go now.
ASSIGNABLE = """
SELECT id, kind FROM principals
WHERE id = ANY(%(ids)s) AND NOT EXISTS (
    SELECT FROM users WHERE users.id = principals.id AND (disable_time IS NOT NULL OR delete_time IS NOT NULL)
) AND NOT EXISTS (
    SELECT FROM service_accounts robot
    WHERE robot.id = principals.id AND (disable_time IS NOT NULL OR delete_time IS NOT NULL)
)
ORDER BY id FOR KEY SHARE
"""
