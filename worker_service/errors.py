"""How an attempt can go wrong, as a class: what a handler raises, and what a lost lease looks like."""

from __future__ import annotations

import psycopg

from shared.errors import Code, TaskHubError


class PermanentError(TaskHubError):
    """The job cannot succeed, however often it is tried."""

    code = Code.FAILED_PRECONDITION
    reason = "PERMANENT"


class Cancelled(TaskHubError):
    """The job was cancelled."""

    code = Code.CANCELLED
    reason = "CANCELLED"


class TimedOut(TaskHubError):
    """The attempt took longer than its kind allows."""

    code = Code.DEADLINE_EXCEEDED
    reason = "TIMED_OUT"


class HandlerError(TaskHubError):
    """The handler failed."""

    code = Code.UNKNOWN
    reason = "HANDLER_FAILED"


class DatabaseUnavailable(TaskHubError):
    """The database went away during the attempt."""

    code = Code.UNAVAILABLE
    reason = "DATABASE_UNAVAILABLE"


class AttemptLost(TaskHubError):
    """The worker vanished, or its lease ended before the job did."""

    code = Code.ABORTED
    reason = "ATTEMPT_LOST"


class LeaseLost(Exception):
    """Somebody else has the job by now, or nobody: what this attempt did must not be committed."""


class Interrupted(BaseException):
    """The handler is to stop now. Nothing that handlers may catch: they would go on."""


class Leaving(SystemExit):
    """The process is to end now; what it has not done goes back."""


def described(error: BaseException) -> TaskHubError:
    """Returns what users may read of `error`; a text that we did not write is never passed on."""
    match error:
        case TaskHubError():
            return error
        case psycopg.OperationalError() | psycopg.errors.ReadOnlySqlTransaction():
            return DatabaseUnavailable()
        case _:
            return HandlerError(f"The handler failed with {type(error).__name__}.")
