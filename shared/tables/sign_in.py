"""What signing in needs: links that were mailed, sessions, and the keys that sign tokens."""

from __future__ import annotations

from sqlalchemy import (
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    Uuid,
    text,
)

from shared.tables.columns import metadata, moment, now, origin, origin_checks

# Links that were mailed beside those of registrations; each token is derived from the id, so that no secret is stored.
# One to choose a password belongs to an account or, where several registrations of an address are pending and nobody
# can tell whose the newest is, to the address. Used ones stay for a while: the mails that tell of the change name them.
links = Table(
    "links",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("purpose", Text, nullable=False),
    Column("user_id", Uuid, ForeignKey("users.id", ondelete="CASCADE"), nullable=True),
    Column("email", Text, nullable=True),
    Column("old_email", Text, nullable=True),
    *origin(),
    now("create_time"),
    moment("expire_time"),
    moment("use_time", nullable=True),
    *origin_checks(),
    CheckConstraint("purpose IN ('reset-password', 'change-email')", name="purpose"),
    CheckConstraint(
        "CASE purpose WHEN 'change-email' THEN num_nonnulls(user_id, email, old_email) = 3"
        " ELSE num_nonnulls(user_id, email) = 1 AND old_email IS NULL END",
        name="target",
    ),
    CheckConstraint("expire_time > create_time", name="expire_time"),
    # what a change of the password invalidates; deleting a user
    Index("links_user_id_idx", "user_id", postgresql_where=text("user_id IS NOT NULL")),
    Index("links_email_idx", "email", postgresql_where=text("email IS NOT NULL")),  # VerifyEmail
    Index("links_expire_time_idx", "expire_time"),  # housekeeping
)

# Who has to wait before the next attempt. The subject is a keyed hash: nobody can read here which addresses were tried.
lockouts = Table(
    "lockouts",
    metadata,
    Column("subject", LargeBinary, primary_key=True),
    Column("failures", Integer, nullable=False),
    now("update_time"),
    moment("lock_time", nullable=True),  # until when
    CheckConstraint("octet_length(subject) = 32", name="subject"),
    CheckConstraint("failures > 0", name="failures"),
    Index("lockouts_update_time_idx", "update_time"),  # housekeeping
)

# From where the owner of an account has signed in before; a keyed hash of program and network.
devices = Table(
    "devices",
    metadata,
    Column("user_id", Uuid, ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Column("fingerprint", LargeBinary, primary_key=True),
    now("create_time"),
    now("use_time"),
    CheckConstraint("octet_length(fingerprint) = 32", name="fingerprint"),
    Index("devices_use_time_idx", "use_time"),  # housekeeping
)

sessions = Table(
    "sessions",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("user_id", Uuid, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    *origin(),  # of its last use
    now("create_time"),
    now("use_time"),
    moment("expire_time"),
    # Sooner than that, if nobody refreshes it.
    Column("idle_expire_time", DateTime(timezone=True), nullable=False, server_default=text("now() + '14 days'")),
    moment("revoke_time", nullable=True),
    *origin_checks(),
    CheckConstraint("expire_time > create_time", name="expire_time"),
    Index("sessions_user_id_idx", "user_id", "id"),  # ListSessions; deleting a user
    Index("sessions_idle_expire_time_idx", "idle_expire_time"),  # housekeeping
    # the revocation list that every API process follows
    Index("sessions_revoke_time_idx", "revoke_time", postgresql_where=text("revoke_time IS NOT NULL")),
)

refresh_tokens = Table(
    "refresh_tokens",
    metadata,
    Column("token_hash", LargeBinary, primary_key=True),
    Column("session_id", Uuid, ForeignKey("sessions.id", ondelete="CASCADE"), nullable=False),
    now("create_time"),
    moment("expire_time"),
    moment("use_time", nullable=True),
    CheckConstraint("octet_length(token_hash) = 32", name="token_hash"),
    Index("refresh_tokens_session_id_idx", "session_id"),  # deleting a session
)

signing_keys = Table(
    "signing_keys",
    metadata,
    Column("kid", Text, primary_key=True),
    Column("public_key", LargeBinary, nullable=False),
    Column("sealed_private_key", LargeBinary, nullable=False),
    now("create_time"),
    moment("sign_from_time"),
    moment("expire_time", nullable=True),
    CheckConstraint("octet_length(public_key) = 32", name="public_key"),
)
