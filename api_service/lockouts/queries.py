"""The SQL of lockouts. By the clock, not by the time of the transaction: attempts overtake each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from api_service.database import Connection

#: How many seconds are left, at least a hundredth: a lock that ends this moment is still one.
_LEFT = "greatest(0.01, extract(epoch FROM lock_time - clock_timestamp()))::float8"

#: For each failure beyond the free ones the delay doubles.
_LOCK_TIME = """
CASE WHEN failures >= %(free)s THEN clock_timestamp() + make_interval(secs =>
    least(%(longest)s, %(shortest)s * power(2, least(failures - %(free)s, 30)))) END
"""


class Charge(NamedTuple):
    """What a failure has led to."""

    failures: int
    #: Seconds until the next attempt, where that has to wait.
    wait: float | None


async def longest_wait(connection: Connection, subjects: Sequence[bytes]) -> float | None:
    """Returns for how many seconds one of the subjects is locked, or None."""
    cursor = await connection.execute(
        f"SELECT max({_LEFT}) FROM lockouts WHERE subject = ANY(%s) AND lock_time > clock_timestamp()",
        (list(subjects),),
    )
    row = await cursor.fetchone()
    return row[0] if row else None


async def hold(connection: Connection, subject: bytes) -> float | None:
    """Lets no attempt on the subject end until the commit; returns for how many seconds it is locked, or None."""
    cursor = await connection.execute(
        f"""
        SELECT CASE WHEN lock_time > clock_timestamp() THEN {_LEFT} END FROM lockouts WHERE subject = %s FOR UPDATE
        """,
        (subject,),
    )
    row = await cursor.fetchone()
    return row[0] if row else None


async def charge(connection: Connection, subject: bytes, rule: dict[str, Any]) -> Charge | None:
    """Counts a failure; returns None where the subject is locked, and nothing is counted."""
    cursor = await connection.execute(
        f"""
        INSERT INTO lockouts AS held (subject, failures, update_time, lock_time)
        SELECT %(subject)s, failures, clock_timestamp(), {_LOCK_TIME} FROM (VALUES (1)) AS first (failures)
        ON CONFLICT (subject) DO UPDATE SET (failures, update_time, lock_time) = (
            SELECT failures, clock_timestamp(), {_LOCK_TIME}
            FROM (SELECT 1 + greatest(0, held.failures - floor(
                extract(epoch FROM clock_timestamp() - held.update_time) / %(forget)s))::integer) AS next (failures))
        WHERE held.lock_time IS NULL OR held.lock_time <= clock_timestamp()
        RETURNING failures, CASE WHEN lock_time > clock_timestamp() THEN {_LEFT} END
        """,
        {"subject": subject, **rule},
    )
    row = await cursor.fetchone()
    return Charge(*row) if row else None


async def forget(connection: Connection, subjects: Sequence[bytes]) -> None:
    """Forgets every failure."""
    await connection.execute("DELETE FROM lockouts WHERE subject = ANY(%s)", (list(subjects),))
