"""What the tables have in common."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, DateTime, ForeignKey, ForeignKeyConstraint, MetaData, Text, Uuid, text
from sqlalchemy.schema import SchemaItem

metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "fk": "%(table_name)s_%(column_0_name)s_fkey",
        "uq": "%(table_name)s_%(column_0_name)s_key",
        "ck": "%(table_name)s_%(constraint_name)s_check",
    }
)


def moment(name: str, *, nullable: bool = False) -> Column[object]:
    """A time, always with its zone."""
    return Column(name, DateTime(timezone=True), nullable=nullable)


def now(name: str) -> Column[object]:
    """When the row's transaction began, by PostgreSQL's clock."""
    return Column(name, DateTime(timezone=True), nullable=False, server_default=text("now()"))


def owner(*, nullable: bool = False) -> tuple[SchemaItem, ...]:
    """Whose it is, with what its name needs, so that nobody has to join for that."""
    return (
        Column("owner_id", Uuid, nullable=nullable),
        Column("owner_kind", Text, nullable=False, server_default="users"),
        ForeignKeyConstraint(["owner_id", "owner_kind"], ["principals.id", "principals.kind"], ondelete="CASCADE"),
    )


def origin() -> tuple[SchemaItem, ...]:
    """Where a call came from, as its owner is told of it."""
    return (
        Column("address", Text, nullable=False, server_default=""),
        Column("user_agent", Text, nullable=False, server_default=""),
    )


def origin_checks() -> tuple[SchemaItem, ...]:
    """The bounds of `origin`."""
    return (
        CheckConstraint("length(address) <= 45", name="address"),
        CheckConstraint("length(user_agent) <= 256", name="user_agent"),
    )


def principal_id() -> Column[object]:
    """The id of an account, which is a principal's as well."""
    # Deferred: the trigger that writes the principal fires after this reference would be looked at.
    reference = ForeignKey("principals.id", ondelete="CASCADE", deferrable=True, initially="DEFERRED")
    return Column("id", Uuid, reference, primary_key=True)
