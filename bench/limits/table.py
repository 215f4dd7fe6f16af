"""The one table that the limits read and write: a key and a text."""

from __future__ import annotations

CREATE = "CREATE TABLE IF NOT EXISTS bench_limit (id uuid PRIMARY KEY, body text NOT NULL)"
SELECT = "SELECT body FROM bench_limit WHERE id = %s"
PAGE = "SELECT id, body FROM bench_limit ORDER BY id DESC LIMIT 20"
INSERT = "INSERT INTO bench_limit (id, body) VALUES (%s, %s)"
