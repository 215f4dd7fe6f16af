"""Rows for tests of jobs, and what became of them."""

from __future__ import annotations

import uuid
from typing import Any

import psycopg
from psycopg.rows import dict_row

from shared.attempts import ATTEMPTS
from shared.ids import new_id
from shared.kinds import EMAIL, JobKind
from shared.outbox import INSERT_JOB, new_job


class Jobs:
    """The tables of one database, as a test looks at them."""

    def __init__(self, url: str) -> None:
        self.connection = psycopg.Connection.connect(url, autocommit=True, row_factory=dict_row)

    def enqueue(self, kind: JobKind = EMAIL, args: dict[str, Any] | None = None, **changes: Any) -> uuid.UUID:
        """Inserts a job that is due; `changes` are columns."""
        job = new_job(kind, args or {})
        self.connection.execute(INSERT_JOB, job)
        for column, value in changes.items():
            self.connection.execute(f"UPDATE jobs SET {column} = %s WHERE id = %s", [value, job["job_id"]])
        id_: uuid.UUID = job["job_id"]
        return id_

    def job(self, id_: uuid.UUID) -> dict[str, Any]:
        """Returns the row."""
        row = self.connection.execute("SELECT * FROM jobs WHERE id = %s", [id_]).fetchone()
        assert row is not None
        return row

    def state(self, id_: uuid.UUID) -> str:
        """Returns jobs.state."""
        return str(self.job(id_)["state"])

    def attempts(self, id_: uuid.UUID) -> list[str]:
        """Returns the states of its attempts, oldest first."""
        rows = self.connection.execute(
            f"SELECT state FROM ({ATTEMPTS}) AS attempts WHERE job_id = %s ORDER BY claim_token", [id_]
        ).fetchall()
        return [row["state"] for row in rows]

    def registration(self, email: str = "ada@example.com", display_name: str = "Ada") -> uuid.UUID:
        """Inserts a registration that waits for confirmation."""
        id_ = new_id()
        self.connection.execute(
            "INSERT INTO registrations (id, email, password_hash, display_name, expire_time)"
            " VALUES (%s, %s, 'x', %s, now() + interval '1 day')",
            [id_, email, display_name],
        )
        return id_

    def user(self, email: str = "ada@example.com", display_name: str = "Ada") -> uuid.UUID:
        """Inserts an account."""
        id_ = new_id()
        self.connection.execute(
            "INSERT INTO users (id, email, password_hash, display_name) VALUES (%s, %s, 'x', %s)",
            [id_, email, display_name],
        )
        return id_

    def verification(self, **person: str) -> uuid.UUID:
        """Inserts a registration and the job that mails its link."""
        registration = self.registration(**person)
        return self.enqueue(args={"template": "verification", "registration": str(registration)})
