"""Everybody who can call, and how an account comes to be."""

from __future__ import annotations

from sqlalchemy import (
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY

from shared.tables.columns import metadata, moment, now, origin, origin_checks, principal_id

# Everybody who can call, own and be assigned things, whatever kind of account it is. A trigger of each kind's table
# writes the row, so that nobody can forget it; deleting it takes everything along that the account owned.
principals = Table(
    "principals",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("kind", Text, nullable=False),
    UniqueConstraint("id", "kind"),  # what owns and is assigned is referred to together with its kind
    CheckConstraint("kind IN ('users', 'serviceAccounts')", name="kind"),
)

users = Table(
    "users",
    metadata,
    principal_id(),
    Column("email", Text, nullable=True),  # absent once the account is deleted
    Column("password_hash", Text, nullable=False),
    # Rises with every change of the password: a sign-in that checked the one before comes too late.
    Column("password_version", Integer, nullable=False, server_default="1"),
    Column("display_name", Text, nullable=False, server_default=""),
    Column("role", Text, nullable=False, server_default="MEMBER"),
    now("create_time"),
    now("update_time"),
    moment("disable_time", nullable=True),
    moment("delete_time", nullable=True),
    moment("purge_time", nullable=True),
    Column("version", Integer, nullable=False, server_default="1"),
    UniqueConstraint("email"),  # Login, Register
    CheckConstraint("email = lower(email) AND length(email) BETWEEN 3 AND 254", name="email"),
    CheckConstraint("length(display_name) <= 100", name="display_name"),
    CheckConstraint("role IN ('MEMBER', 'ADMIN')", name="role"),
    CheckConstraint("version > 0", name="version"),
    # A deleted account is nobody's any more.
    CheckConstraint(
        "CASE WHEN delete_time IS NULL THEN email IS NOT NULL"
        " ELSE email IS NULL AND password_hash || display_name = '' END",
        name="delete_time",
    ),
    CheckConstraint("(delete_time IS NULL) = (purge_time IS NULL)", name="purge_time"),
    # the administrators, of whom one has to stay
    Index("users_admins_idx", "id", postgresql_where=text("role = 'ADMIN'")),
    # housekeeping
    Index("users_purge_time_idx", "purge_time", postgresql_where=text("purge_time IS NOT NULL")),
    CheckConstraint("password_version > 0", name="password_version"),
)

# Accounts of services. They hold the scopes that they were given, and sign in with keys.
service_accounts = Table(
    "service_accounts",
    metadata,
    principal_id(),
    Column("display_name", Text, nullable=False),
    Column("description", Text, nullable=False, server_default=""),
    Column("scopes", ARRAY(Text), nullable=False),
    now("create_time"),
    now("update_time"),
    moment("disable_time", nullable=True),
    moment("delete_time", nullable=True),
    moment("purge_time", nullable=True),
    Column("version", Integer, nullable=False, server_default="1"),
    # Rises when a disabled account is enabled again: the tokens of the generations before stay dead.
    Column("token_generation", Integer, nullable=False, server_default="0"),
    moment("token_end_time", nullable=True),  # when that was
    CheckConstraint("length(display_name) BETWEEN 1 AND 100", name="display_name"),
    CheckConstraint("length(description) <= 1000", name="description"),
    CheckConstraint("cardinality(scopes) <= 32", name="scopes"),
    CheckConstraint("version > 0", name="version"),
    CheckConstraint("token_generation >= 0", name="token_generation"),
    CheckConstraint("(delete_time IS NULL) = (purge_time IS NULL)", name="purge_time"),
    # the revocation list that every API process follows
    Index("service_accounts_disable_time_idx", "disable_time", postgresql_where=text("disable_time IS NOT NULL")),
    Index("service_accounts_token_end_time_idx", "token_end_time", postgresql_where=text("token_end_time IS NOT NULL")),
    # housekeeping
    Index("service_accounts_purge_time_idx", "purge_time", postgresql_where=text("purge_time IS NOT NULL")),
)

service_account_keys = Table(
    "service_account_keys",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("service_account_id", Uuid, ForeignKey("service_accounts.id", ondelete="CASCADE"), nullable=False),
    Column("display_name", Text, nullable=False, server_default=""),
    # of 256 random bits, so a plain hash hides them
    Column("secret_hash", LargeBinary, nullable=False),
    now("create_time"),
    moment("expire_time", nullable=True),
    # To the minute, so that a busy key is not written with every exchange.
    moment("last_use_time", nullable=True),
    moment("last_refuse_time", nullable=True),
    moment("revoke_time", nullable=True),
    CheckConstraint("length(display_name) <= 100", name="display_name"),
    CheckConstraint("octet_length(secret_hash) = 32", name="secret_hash"),
    CheckConstraint("expire_time > create_time", name="expire_time"),
    Index("service_account_keys_service_account_id_idx", "service_account_id", "id"),  # ListKeys
    # the revocation list that every API process follows
    Index("service_account_keys_revoke_time_idx", "revoke_time", postgresql_where=text("revoke_time IS NOT NULL")),
)

# Accounts that nobody has confirmed yet. The verification link is derived from the id, so that no secret is stored; it
# activates only the password of its own row.
registrations = Table(
    "registrations",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("email", Text, nullable=False),
    Column("password_hash", Text, nullable=False),
    Column("display_name", Text, nullable=False, server_default=""),
    *origin(),
    now("create_time"),
    moment("expire_time"),
    *origin_checks(),
    CheckConstraint("email = lower(email) AND length(email) BETWEEN 3 AND 254", name="email"),
    CheckConstraint("length(display_name) <= 100", name="display_name"),
    CheckConstraint("expire_time > create_time", name="expire_time"),
    Index("registrations_email_idx", "email", "id"),  # ResendVerification, VerifyEmail
    Index("registrations_expire_time_idx", "expire_time"),  # housekeeping
)
