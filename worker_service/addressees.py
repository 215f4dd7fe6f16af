"""Who a mail goes to and what it is about, read when it is sent: the arguments of its job hold ids alone."""

from __future__ import annotations

import uuid
from typing import Any

from worker_service.database import Connection


def registration(connection: Connection, id_: uuid.UUID) -> dict[str, Any] | None:
    """Returns the address and display name of a registration that can still be confirmed."""
    return connection.execute(
        """
        SELECT email, display_name, create_time, address, user_agent FROM registrations
        WHERE id = %s AND expire_time > now()
        """,
        [id_],
    ).fetchone()


def user(connection: Connection, id_: uuid.UUID) -> dict[str, Any] | None:
    """Returns the address and display name of an account that was not deleted."""
    return connection.execute(
        "SELECT email, display_name FROM users WHERE id = %s AND email IS NOT NULL", [id_]
    ).fetchone()


def open_task(connection: Connection, id_: uuid.UUID) -> dict[str, Any] | None:
    """Returns a task that somebody still has to do, with the address and display name of whoever that is, if a user."""
    return connection.execute(
        """
        SELECT title, due_time, remind_time, assignee_id, email, display_name
        FROM tasks JOIN users ON users.id = coalesce(assignee_id, owner_id)
            AND users.disable_time IS NULL AND users.delete_time IS NULL
        WHERE tasks.id = %s AND tasks.delete_time IS NULL AND state IN ('TODO', 'IN_PROGRESS')
        """,
        [id_],
    ).fetchone()


def link(connection: Connection, id_: uuid.UUID) -> dict[str, Any] | None:
    """Returns what a link is for and about, where it was asked for, and whether it can be used no longer."""
    return connection.execute(
        """
        SELECT purpose, coalesce(links.email, users.email) AS email, old_email,
               coalesce(display_name, '') AS display_name, links.create_time, address, user_agent,
               use_time IS NOT NULL OR expire_time <= now() AS over
        FROM links LEFT JOIN users ON users.id = user_id
        WHERE links.id = %s AND coalesce(links.email, users.email) IS NOT NULL
        """,
        [id_],
    ).fetchone()


def session(connection: Connection, id_: uuid.UUID) -> dict[str, Any] | None:
    """Returns where a session was opened from, with the address and display name of its account."""
    return connection.execute(
        """
        SELECT email, display_name, sessions.create_time, address, user_agent
        FROM sessions JOIN users ON users.id = user_id WHERE sessions.id = %s AND email IS NOT NULL
        """,
        [id_],
    ).fetchone()
