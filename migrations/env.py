"""How Alembic reaches the database: one transaction a migration, timeouts on, one process at a time."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection, create_engine, pool, text

from shared.settings import DatabaseSettings, load
from shared.tables import metadata

#: Any number that nothing else in this database locks.
LOCK = 7_305_102_664

#: A migration that cannot get its lock gives up instead of queueing every query behind itself.
TIMEOUTS = "SET lock_timeout = '5s'; SET statement_timeout = '15min'"


def offline() -> None:
    """Prints the statements."""
    context.configure(
        dialect_name="postgresql", target_metadata=metadata, literal_binds=True, transaction_per_migration=True
    )
    with context.begin_transaction():
        context.execute(TIMEOUTS)
        context.run_migrations()


def online() -> None:
    """Runs the statements under the advisory lock, which the session holds from before the first to after the last."""
    dsn = load(DatabaseSettings).direct_dsn.replace("postgresql://", "postgresql+psycopg://", 1)
    engine = create_engine(dsn, poolclass=pool.NullPool)
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": LOCK})
        connection.execute(text(TIMEOUTS))
        connection.commit()
        try:
            _migrate(connection)
        finally:
            connection.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": LOCK})
            connection.commit()


def _migrate(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=metadata, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()


if context.is_offline_mode():
    offline()
else:
    online()
