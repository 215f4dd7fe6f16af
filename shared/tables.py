"""The schema: what Alembic compares with, and what dynamic queries are built from.

The rules of the contract stand here once more as constraints, so that no process can write what the rules refuse. Each
index names the query that it stands behind.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.schema import SchemaItem

metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "fk": "%(table_name)s_%(column_0_name)s_fkey",
        "uq": "%(table_name)s_%(column_0_name)s_key",
        "ck": "%(table_name)s_%(constraint_name)s_check",
    }
)


#: The words of a task, without stemming: nobody knows what language they are in. The planner finds the index only for
#: this very expression, and Alembic its change only where it is spelt as PostgreSQL spells it.
TASK_SEARCH = "to_tsvector('simple'::regconfig, (title || ' '::text) || description)"


def _time(name: str, *, nullable: bool = False) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=nullable)


def _now(name: str) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=False, server_default=text("now()"))


def _owner(*, nullable: bool = False) -> tuple[SchemaItem, ...]:
    """Whose it is, with what its name needs, so that nobody has to join for that."""
    return (
        Column("owner_id", Uuid, nullable=nullable),
        Column("owner_kind", Text, nullable=False, server_default="users"),
        ForeignKeyConstraint(["owner_id", "owner_kind"], ["principals.id", "principals.kind"], ondelete="CASCADE"),
    )


def _origin() -> tuple[SchemaItem, ...]:
    """Where a call came from, as its owner is told of it."""
    return (
        Column("address", Text, nullable=False, server_default=""),
        Column("user_agent", Text, nullable=False, server_default=""),
    )


def _origin_checks() -> tuple[SchemaItem, ...]:
    return (
        CheckConstraint("length(address) <= 45", name="address"),
        CheckConstraint("length(user_agent) <= 256", name="user_agent"),
    )


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


def _principal_id() -> Column[object]:
    # Deferred: the trigger that writes the principal fires after this reference would be looked at.
    reference = ForeignKey("principals.id", ondelete="CASCADE", deferrable=True, initially="DEFERRED")
    return Column("id", Uuid, reference, primary_key=True)


users = Table(
    "users",
    metadata,
    _principal_id(),
    Column("email", Text, nullable=True),  # absent once the account is deleted
    Column("password_hash", Text, nullable=False),
    # Rises with every change of the password: a sign-in that checked the one before comes too late.
    Column("password_version", Integer, nullable=False, server_default="1"),
    Column("display_name", Text, nullable=False, server_default=""),
    Column("role", Text, nullable=False, server_default="MEMBER"),
    _now("create_time"),
    _now("update_time"),
    _time("disable_time", nullable=True),
    _time("delete_time", nullable=True),
    _time("purge_time", nullable=True),
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
    _principal_id(),
    Column("display_name", Text, nullable=False),
    Column("description", Text, nullable=False, server_default=""),
    Column("scopes", ARRAY(Text), nullable=False),
    _now("create_time"),
    _now("update_time"),
    _time("disable_time", nullable=True),
    _time("delete_time", nullable=True),
    _time("purge_time", nullable=True),
    Column("version", Integer, nullable=False, server_default="1"),
    CheckConstraint("length(display_name) BETWEEN 1 AND 100", name="display_name"),
    CheckConstraint("length(description) <= 1000", name="description"),
    CheckConstraint("cardinality(scopes) <= 32", name="scopes"),
    CheckConstraint("version > 0", name="version"),
    CheckConstraint("(delete_time IS NULL) = (purge_time IS NULL)", name="purge_time"),
    # the revocation list that every API process follows
    Index("service_accounts_disable_time_idx", "disable_time", postgresql_where=text("disable_time IS NOT NULL")),
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
    _now("create_time"),
    _time("expire_time", nullable=True),
    # To the minute, so that a busy key is not written with every exchange.
    _time("last_use_time", nullable=True),
    _time("last_refuse_time", nullable=True),
    _time("revoke_time", nullable=True),
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
    *_origin(),
    _now("create_time"),
    _time("expire_time"),
    *_origin_checks(),
    CheckConstraint("email = lower(email) AND length(email) BETWEEN 3 AND 254", name="email"),
    CheckConstraint("length(display_name) <= 100", name="display_name"),
    CheckConstraint("expire_time > create_time", name="expire_time"),
    Index("registrations_email_idx", "email", "id"),  # ResendVerification, VerifyEmail
    Index("registrations_expire_time_idx", "expire_time"),  # housekeeping
)

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
    *_origin(),
    _now("create_time"),
    _time("expire_time"),
    _time("use_time", nullable=True),
    *_origin_checks(),
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
    _now("update_time"),
    _time("lock_time", nullable=True),  # until when
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
    _now("create_time"),
    _now("use_time"),
    CheckConstraint("octet_length(fingerprint) = 32", name="fingerprint"),
    Index("devices_use_time_idx", "use_time"),  # housekeeping
)

sessions = Table(
    "sessions",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("user_id", Uuid, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    *_origin(),  # of its last use
    _now("create_time"),
    _now("use_time"),
    _time("expire_time"),
    # Sooner than that, if nobody refreshes it.
    Column("idle_expire_time", DateTime(timezone=True), nullable=False, server_default=text("now() + '14 days'")),
    _time("revoke_time", nullable=True),
    *_origin_checks(),
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
    _now("create_time"),
    _time("expire_time"),
    _time("use_time", nullable=True),
    CheckConstraint("octet_length(token_hash) = 32", name="token_hash"),
    Index("refresh_tokens_session_id_idx", "session_id"),  # deleting a session
)

signing_keys = Table(
    "signing_keys",
    metadata,
    Column("kid", Text, primary_key=True),
    Column("public_key", LargeBinary, nullable=False),
    Column("sealed_private_key", LargeBinary, nullable=False),
    _now("create_time"),
    _time("sign_from_time"),
    _time("expire_time", nullable=True),
    CheckConstraint("octet_length(public_key) = 32", name="public_key"),
)

idempotency_records = Table(
    "idempotency_records",
    metadata,
    Column("principal", Text, primary_key=True),
    Column("method", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("fingerprint", LargeBinary, nullable=False),
    # Absent only inside the transaction that is still making it.
    Column("response", LargeBinary, nullable=True),
    _now("create_time"),
    _time("expire_time"),
    CheckConstraint("length(key) BETWEEN 1 AND 255", name="key"),
    CheckConstraint("octet_length(fingerprint) = 32", name="fingerprint"),
    CheckConstraint("expire_time >= create_time + interval '24 hours'", name="expire_time"),
    Index("idempotency_records_expire_time_idx", "expire_time"),  # housekeeping
)

_LIVE = text("delete_time IS NULL")
_DELETED = text("delete_time IS NOT NULL")
# What the owner has given to somebody else: together with what they own, that is all they can see, and nothing twice.
_ASSIGNED = text("assignee_id <> owner_id AND delete_time IS NULL")
_ASSIGNED_DELETED = text("assignee_id <> owner_id AND delete_time IS NOT NULL")
# IS TRUE keeps the planner from taking the equation apart, after which it would not find the index.
_SELF_ASSIGNED = text("(assignee_id = owner_id) IS TRUE AND delete_time IS NULL")
# Everybody's. Every version is above 0: the condition keeps these indexes to queries that name it. For one owner the
# planner would take them as well, and pass over everybody else's tasks to find the owner's.
_ANY = text("delete_time IS NULL AND version > 0")
_ANY_DELETED = text("delete_time IS NOT NULL AND version > 0")

tasks = Table(
    "tasks",
    metadata,
    Column("id", Uuid, primary_key=True),
    *_owner(),
    Column("title", Text, nullable=False),
    Column("description", Text, nullable=False, server_default=""),
    Column("state", Text, nullable=False, server_default="TODO"),
    Column("priority", SmallInteger, nullable=False, server_default="2"),
    Column("labels", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    _time("due_time", nullable=True),
    _time("remind_time", nullable=True),
    Column("assignee_id", Uuid, nullable=True),
    Column("assignee_kind", Text, nullable=True),
    Column("parent_id", Uuid, nullable=True),
    Column("version", Integer, nullable=False, server_default="1"),
    _now("create_time"),
    _now("update_time"),
    _time("complete_time", nullable=True),
    _time("delete_time", nullable=True),
    _time("purge_time", nullable=True),
    CheckConstraint("length(title) BETWEEN 1 AND 200", name="title"),
    CheckConstraint("length(description) <= 10000", name="description"),
    CheckConstraint("state IN ('TODO', 'IN_PROGRESS', 'DONE', 'CANCELLED')", name="state"),
    CheckConstraint("priority BETWEEN 1 AND 4", name="priority"),
    CheckConstraint("jsonb_typeof(labels) = 'object'", name="labels"),
    CheckConstraint("version > 0", name="version"),
    CheckConstraint("(state = 'DONE') = (complete_time IS NOT NULL)", name="complete_time"),
    CheckConstraint("(delete_time IS NULL) = (purge_time IS NULL)", name="purge_time"),
    CheckConstraint("(assignee_id IS NULL) = (assignee_kind IS NULL)", name="assignee"),
    CheckConstraint("parent_id <> id", name="parent_id"),
    ForeignKeyConstraint(["assignee_id", "assignee_kind"], ["principals.id", "principals.kind"], ondelete="SET NULL"),
    # Nothing is purged before its subtasks; an account takes whole trees along.
    ForeignKeyConstraint(["parent_id"], ["tasks.id"]),
    # deleting a principal
    Index("tasks_owner_id_idx", "owner_id"),
    Index("tasks_assignee_id_idx", "assignee_id", "id", postgresql_where=text("assignee_id IS NOT NULL")),
    # subtasks of one task
    Index("tasks_parent_id_idx", "parent_id", "id", postgresql_where=text("parent_id IS NOT NULL")),
    # housekeeping
    Index("tasks_purge_time_idx", "purge_time", postgresql_where=text("purge_time IS NOT NULL")),
    # ListTasks of one owner: newest first, by state, by due time (which is asked for state by state), deleted ones
    Index("tasks_owner_live_idx", "owner_id", "create_time", "id", postgresql_where=_LIVE),
    Index("tasks_owner_state_idx", "owner_id", "state", "create_time", "id", postgresql_where=_LIVE),
    Index("tasks_owner_due_idx", "owner_id", "state", "due_time", "id", postgresql_where=_LIVE),
    Index("tasks_owner_deleted_idx", "owner_id", "create_time", "id", postgresql_where=_DELETED),
    # the same of what others have assigned to somebody
    Index("tasks_assigned_live_idx", "assignee_id", "create_time", "id", postgresql_where=_ASSIGNED),
    Index("tasks_assigned_state_idx", "assignee_id", "state", "create_time", "id", postgresql_where=_ASSIGNED),
    Index("tasks_assigned_due_idx", "assignee_id", "state", "due_time", "id", postgresql_where=_ASSIGNED),
    Index("tasks_assigned_deleted_idx", "assignee_id", "create_time", "id", postgresql_where=_ASSIGNED_DELETED),
    # what somebody has assigned to themselves: with the ones before, what is assigned to them
    Index("tasks_self_live_idx", "owner_id", "create_time", "id", postgresql_where=_SELF_ASSIGNED),
    Index("tasks_self_state_idx", "owner_id", "state", "create_time", "id", postgresql_where=_SELF_ASSIGNED),
    # ListTasks of an administrator
    Index("tasks_live_idx", "create_time", "id", postgresql_where=_ANY),
    Index("tasks_state_idx", "state", "create_time", "id", postgresql_where=_ANY),
    Index("tasks_due_idx", "state", "due_time", "id", postgresql_where=_ANY),
    Index("tasks_deleted_idx", "create_time", "id", postgresql_where=_ANY_DELETED),
    # filters by label and by words
    Index("tasks_labels_idx", "labels", postgresql_using="gin"),
    Index("tasks_search_idx", text(TASK_SEARCH), postgresql_using="gin"),
)

events = Table(
    "events",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    # Given by the sequencer after the commit, contiguous from 1: what readers of the log remember.
    Column("position", BigInteger, nullable=True),
    Column("kind", Text, nullable=False),
    Column("resource", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("owner_id", Uuid, nullable=True),
    Column("changes", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    _now("create_time"),
    # The caller's address and user agent, where the event belongs to the audit of an account.
    Column("context", JSONB, nullable=True),
    UniqueConstraint("position"),
    CheckConstraint("kind ~ '^[a-z]+[.][a-z_]+$'", name="kind"),
    CheckConstraint("position > 0", name="position"),
    CheckConstraint("jsonb_typeof(context) = 'object'", name="context"),
    Index("events_resource_idx", "resource", "id"),  # history of one resource
    Index("events_unsequenced_idx", "id", postgresql_where=text("position IS NULL")),  # the sequencer
)

# The last position given out. Not max(position): purging old events would set that back.
event_counter = Table(
    "event_counter",
    metadata,
    Column("only_row", Boolean, primary_key=True, server_default=text("true")),
    Column("position", BigInteger, nullable=False),
    # Up to which position events are no longer all there: whoever remembers an older one would miss some.
    Column("purged", BigInteger, nullable=False, server_default="0"),
    CheckConstraint("only_row", name="only_row"),
    CheckConstraint("purged BETWEEN 0 AND position", name="purged"),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("args", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    Column("queue", Text, nullable=False),
    Column("priority", SmallInteger, nullable=False, server_default="0"),
    Column("state", Text, nullable=False, server_default="WAITING"),
    Column("attempt", Integer, nullable=False, server_default="0"),
    Column("max_attempts", Integer, nullable=False),
    _now("schedule_time"),
    # schedule_time less a bonus for priority: the order of claims, and aging for free.
    _now("rank"),
    # The fence: rises with every claim and never falls. A finish that names an older one changes nothing.
    Column("claim_token", BigInteger, nullable=False, server_default="0"),
    _time("lease_expire_time", nullable=True),
    # Who runs it, or ran it last: "host:pid".
    Column("worker", Text, nullable=True),
    # The database session that claimed it, and when its worker last gave a sign of life: a session that is gone ends
    # the lease early.
    Column("session_pid", Integer, nullable=True),
    _time("session_start_time", nullable=True),
    _time("heartbeat_time", nullable=True),
    # It is claimed alone, or has to be the next time: whoever was lost with others may have been the cause.
    Column("solo", Boolean, nullable=False, server_default=text("false")),
    Column("cancel_requested", Boolean, nullable=False, server_default=text("false")),
    Column("progress_fraction", Double, nullable=True),
    Column("progress_note", Text, nullable=True),
    Column("result", JSONB, nullable=True),
    # google.rpc.Status of the last failure: {"code": 14, "message": "…", "reason": "…"}
    Column("error", JSONB, nullable=True),
    *_owner(nullable=True),
    Column("task_id", Uuid, ForeignKey("tasks.id", ondelete="SET NULL"), nullable=True),
    # W3C trace context of the call that caused it
    Column("traceparent", Text, nullable=True),
    _now("create_time"),
    _time("start_time", nullable=True),
    _time("end_time", nullable=True),
    CheckConstraint("kind ~ '^[a-z][a-z0-9_.]{0,62}$'", name="kind"),
    CheckConstraint("queue ~ '^[a-z][a-z0-9_-]{0,62}$'", name="queue"),
    CheckConstraint("jsonb_typeof(args) = 'object'", name="args"),
    CheckConstraint("priority BETWEEN -100 AND 100", name="priority"),
    CheckConstraint("state IN ('WAITING', 'RUNNING', 'SUCCEEDED', 'FAILED', 'CANCELLED')", name="state"),
    CheckConstraint("max_attempts BETWEEN 1 AND 100", name="max_attempts"),
    CheckConstraint("attempt BETWEEN 0 AND max_attempts", name="attempt"),
    CheckConstraint("(state = 'RUNNING') = (lease_expire_time IS NOT NULL)", name="lease_expire_time"),
    CheckConstraint("(state IN ('SUCCEEDED', 'FAILED', 'CANCELLED')) = (end_time IS NOT NULL)", name="end_time"),
    CheckConstraint("progress_fraction BETWEEN 0 AND 1", name="progress_fraction"),
    CheckConstraint("length(progress_note) <= 200", name="progress_note"),
    # claim and dispatch: what waits in a queue, in order of rank; what is not due is passed over within the index
    Index("jobs_waiting_idx", "queue", "rank", "schedule_time", "id", postgresql_where=text("state = 'WAITING'")),
    # reaper: leases that ended
    Index("jobs_lease_idx", "lease_expire_time", postgresql_where=text("state = 'RUNNING'")),
    Index("jobs_owner_id_idx", "owner_id", "id"),  # ListJobs of one owner; deleting a principal
    Index("jobs_kind_idx", "kind", "id"),  # ListJobs by kind
    # ListJobs by the state FAILED
    Index("jobs_failed_idx", "id", postgresql_where=text("state = 'FAILED'")),
    # deleting a task
    Index("jobs_task_id_idx", "task_id", postgresql_where=text("task_id IS NOT NULL")),
)

# Attempts that ended without success; the present one, and the one that succeeded, is the job's own row.
job_attempts = Table(
    "job_attempts",
    metadata,
    Column("job_id", Uuid, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("claim_token", BigInteger, primary_key=True),  # ListJobAttempts, in this order
    Column("attempt", Integer, nullable=False),
    Column("state", Text, nullable=False, server_default="RUNNING"),
    Column("worker", Text, nullable=False),
    _now("start_time"),
    _time("end_time", nullable=True),
    Column("error", JSONB, nullable=True),
    CheckConstraint("attempt > 0", name="attempt"),
    CheckConstraint("state IN ('RUNNING', 'SUCCEEDED', 'FAILED', 'LOST', 'RELEASED')", name="state"),
    CheckConstraint("(state = 'RUNNING') = (end_time IS NULL)", name="end_time"),
)

# What the steps of a job returned, so that a later attempt goes on where the last one ended.
job_steps = Table(
    "job_steps",
    metadata,
    Column("job_id", Uuid, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("result", JSONB, nullable=True),
    _now("create_time"),
    CheckConstraint("length(name) BETWEEN 1 AND 200", name="name"),
)

# A file that a job reads or leaves behind. One without a job is an upload that no import has taken over yet.
job_files = Table(
    "job_files",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("job_id", Uuid, ForeignKey("jobs.id", ondelete="CASCADE"), nullable=True),
    Column("role", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("content_type", Text, nullable=False),
    # Both absent until the file is complete; nobody reads it before.
    Column("size", BigInteger, nullable=True),
    Column("sha256", LargeBinary, nullable=True),
    _now("create_time"),
    UniqueConstraint("job_id", "role"),  # ReadJobResult; deleting a job
    CheckConstraint("role IN ('INPUT', 'RESULT')", name="role"),
    CheckConstraint("length(name) BETWEEN 1 AND 200", name="name"),
    CheckConstraint("length(content_type) BETWEEN 1 AND 200", name="content_type"),
    CheckConstraint("size >= 0", name="size"),
    CheckConstraint("octet_length(sha256) = 32", name="sha256"),
    CheckConstraint("(size IS NULL) = (sha256 IS NULL)", name="complete"),
    CheckConstraint("job_id IS NOT NULL OR role = 'INPUT'", name="job_id"),
    # housekeeping: uploads that nobody took over
    Index("job_files_abandoned_idx", "create_time", postgresql_where=text("job_id IS NULL")),
)

# The bytes of a file, in the order of the position of each chunk's first byte.
job_file_chunks = Table(
    "job_file_chunks",
    metadata,
    Column("file_id", Uuid, ForeignKey("job_files.id", ondelete="CASCADE"), primary_key=True),
    Column("start", BigInteger, primary_key=True),
    Column("data", LargeBinary, nullable=False),
    CheckConstraint("start >= 0", name="start"),
    CheckConstraint("octet_length(data) BETWEEN 1 AND 1048576", name="data"),
)

# By what the caller calls its lines: the same key again makes no second task.
import_keys = Table(
    "import_keys",
    metadata,
    Column("owner_id", Uuid, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("task_id", Uuid, ForeignKey("tasks.id", ondelete="CASCADE"), nullable=False),
    CheckConstraint("length(key) BETWEEN 1 AND 255", name="key"),
    Index("import_keys_task_id_idx", "task_id"),  # deleting a task
)
