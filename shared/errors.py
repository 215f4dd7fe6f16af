"""Every refusal that a caller can meet, as a class: its status, its stable reason, and its docstring as the message."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum


class Code(IntEnum):
    """The canonical status codes (google.rpc.Code) that TaskHub answers with."""

    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


class TaskHubError(Exception):
    """Something went wrong on our side."""

    code = Code.INTERNAL
    reason = "INTERNAL"
    #: Seconds after which the same call may be sent again, if that helps.
    retry_after: float | None = None
    #: Facts for programs that read headers only.
    headers: Mapping[str, str] = {}

    def __init__(self, message: str | None = None, /, **metadata: str) -> None:
        self.message = message or type(self).__doc__ or ""
        #: Facts for programs, carried in google.rpc.ErrorInfo.
        self.metadata: Mapping[str, str] = metadata
        super().__init__(self.message)


class InvalidArgument(TaskHubError):
    """The request is malformed."""

    code = Code.INVALID_ARGUMENT
    reason = "FIELD_INVALID"

    def __init__(self, field: str, description: str) -> None:
        super().__init__(f"{field}: {description}")
        #: Pairs of field path and what is wrong with it, for google.rpc.BadRequest.
        self.violations = [(field, description)]


class FieldsInvalid(InvalidArgument):
    """Several fields are malformed."""

    def __init__(self, violations: list[tuple[str, str]]) -> None:
        field, description = violations[0]
        super().__init__(field, description)
        self.violations = violations


class MessageMalformed(TaskHubError):
    """The bytes of the request are not a message of the expected type."""

    code = Code.INVALID_ARGUMENT
    reason = "MESSAGE_MALFORMED"


class PageTokenInvalid(InvalidArgument):
    """The page token is malformed, or was given out for other arguments."""

    reason = "PAGE_TOKEN_INVALID"

    def __init__(self) -> None:
        super().__init__("page_token", "is malformed, or was given out for other arguments")


class FilterInvalid(InvalidArgument):
    """The filter is malformed, or names what cannot be filtered by."""

    reason = "FILTER_INVALID"

    def __init__(self, description: str, position: int) -> None:
        super().__init__("filter", f"{description} (at character {position})")
        self.metadata = {"position": str(position)}


class OrderInvalid(InvalidArgument):
    """The order is malformed, or names what cannot be ordered by."""

    reason = "ORDER_INVALID"

    def __init__(self, description: str) -> None:
        super().__init__("order_by", description)


class ResumeTokenInvalid(InvalidArgument):
    """The resume token is malformed, or was given out for other arguments."""

    reason = "RESUME_TOKEN_INVALID"

    def __init__(self) -> None:
        super().__init__("resume_token", "is malformed, or was given out for other arguments")


class ResumeTokenExpired(TaskHubError):
    """Events after the resume token are no longer kept: read anew, and watch from now."""

    code = Code.OUT_OF_RANGE
    reason = "RESUME_TOKEN_EXPIRED"


class LinkInvalid(InvalidArgument):
    """The link is malformed, expired or already used."""

    reason = "LINK_INVALID"

    def __init__(self) -> None:
        super().__init__("token", "is malformed, expired or already used")


class PasswordWrong(InvalidArgument):
    """The password is not the account's."""

    reason = "PASSWORD_WRONG"

    def __init__(self, field: str) -> None:
        super().__init__(field, "is not the password of the account")


class EmailUnchanged(InvalidArgument):
    """The account has this address already."""

    reason = "EMAIL_UNCHANGED"

    def __init__(self) -> None:
        super().__init__("email", "is the address of the account already")


class PasswordCommon(InvalidArgument):
    """The password is among those that leaks show most often."""

    reason = "PASSWORD_COMMON"

    def __init__(self, field: str) -> None:
        super().__init__(field, "is among those that are guessed first; choose another")


class PasswordGuessable(InvalidArgument):
    """The password is the account's own address, a part of it, or the name of the service."""

    reason = "PASSWORD_GUESSABLE"

    def __init__(self, field: str) -> None:
        super().__init__(field, "is the address, a part of it, or the name of the service; choose another")


class IdempotencyKeyInvalid(InvalidArgument):
    """The idempotency key is malformed."""

    reason = "IDEMPOTENCY_KEY_INVALID"

    def __init__(self) -> None:
        super().__init__("idempotency-key", "must be given once, 1 to 255 printable ASCII characters")


class IdempotencyKeyReused(InvalidArgument):
    """The idempotency key was used for another request."""

    reason = "IDEMPOTENCY_KEY_REUSED"

    def __init__(self) -> None:
        super().__init__("idempotency-key", "was used for another request")


class UploadTooLarge(InvalidArgument):
    """The file is larger than the server takes."""

    reason = "BODY_TOO_LARGE"

    def __init__(self, limit: int) -> None:
        super().__init__("body", f"is larger than {limit} bytes")


class Unauthenticated(TaskHubError):
    """The call carries no access token."""

    code = Code.UNAUTHENTICATED
    reason = "TOKEN_MISSING"


class TokenInvalid(Unauthenticated):
    """The access token is malformed, expired, revoked or not ours."""

    reason = "TOKEN_INVALID"


class CredentialsInvalid(Unauthenticated):
    """The address or the password is wrong, or the account is not verified."""

    reason = "CREDENTIALS_INVALID"


class RefreshTokenInvalid(Unauthenticated):
    """The refresh token is unknown, expired, revoked or already used."""

    reason = "REFRESH_TOKEN_INVALID"


class ServiceKeyInvalid(Unauthenticated):
    """The key is unknown, expired or revoked, or its account is not to be used."""

    reason = "SERVICE_KEY_INVALID"


class PermissionDenied(TaskHubError):
    """The account may not call this method."""

    code = Code.PERMISSION_DENIED
    reason = "SCOPE_MISSING"


class OwnerOnly(PermissionDenied):
    """Only the owner may do this with the task."""

    reason = "OWNER_ONLY"


class NotFound(TaskHubError):
    """There is no such resource, or the caller may not see it."""

    code = Code.NOT_FOUND
    reason = "RESOURCE_NOT_FOUND"


class EtagMismatch(TaskHubError):
    """The resource has changed since that etag was read."""

    code = Code.ABORTED
    reason = "ETAG_MISMATCH"


class FailedPrecondition(TaskHubError):
    """The resource is not in a state that allows this."""

    code = Code.FAILED_PRECONDITION
    reason = "PRECONDITION_FAILED"


class StateTransitionInvalid(FailedPrecondition):
    """The task is not in a state that allows this."""

    reason = "STATE_TRANSITION_INVALID"


class TaskNotDeleted(TaskHubError):
    """The task is not deleted."""

    # AIP-164 wants this for Undelete.
    code = Code.ALREADY_EXISTS
    reason = "TASK_NOT_DELETED"


class SubtasksOpen(FailedPrecondition):
    """The task has subtasks that are open; close them first, or all together with `force`."""

    reason = "SUBTASKS_OPEN"


class SubtasksExist(FailedPrecondition):
    """The task has subtasks; delete them first, or all together with `force`."""

    reason = "SUBTASKS_EXIST"


class SubtaskCycle(FailedPrecondition):
    """A task cannot be part of itself, nor of one of its subtasks."""

    reason = "SUBTASK_CYCLE"


class ParentClosed(FailedPrecondition):
    """The task that this one is a part of is done or cancelled; reopen it first."""

    reason = "PARENT_CLOSED"


class ParentDeleted(FailedPrecondition):
    """The task that this one is a part of is deleted; bring it back first."""

    reason = "PARENT_DELETED"


class TreeLimitExceeded(FailedPrecondition):
    """The tree of tasks would get too deep or too large."""

    reason = "TREE_LIMIT_EXCEEDED"


class LastAdmin(FailedPrecondition):
    """No administrator would be left."""

    reason = "LAST_ADMIN"


class KeyLimitReached(FailedPrecondition):
    """The account has as many keys as it may have; revoke one first."""

    reason = "KEY_LIMIT_REACHED"


class JobResultMissing(FailedPrecondition):
    """The job has left no file, or not yet."""

    reason = "JOB_RESULT_MISSING"


class Contention(TaskHubError):
    """Another call holds what this one needs; try again."""

    code = Code.ABORTED
    reason = "CONTENTION"
    retry_after = 0.1


class IdempotencyKeyInUse(Contention):
    """A call with the same idempotency key is still running; try again."""

    reason = "IDEMPOTENCY_KEY_IN_USE"


class SignInLocked(TaskHubError):
    """Too many sign-ins failed; try again later."""

    code = Code.RESOURCE_EXHAUSTED
    reason = "SIGN_IN_LOCKED"

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.retry_after = seconds


class UsersOnly(PermissionDenied):
    """Service accounts have neither sessions nor passwords."""

    reason = "USERS_ONLY"


class PasswordsBusy(TaskHubError):
    """Too many passwords wait to be hashed; try again."""

    code = Code.RESOURCE_EXHAUSTED
    reason = "PASSWORDS_BUSY"
    retry_after = 1.0


class DeadlineExceeded(TaskHubError):
    """The deadline passed before the answer was ready."""

    code = Code.DEADLINE_EXCEEDED
    reason = "DEADLINE_EXCEEDED"


class Unavailable(TaskHubError):
    """The service cannot reach its database; try again."""

    code = Code.UNAVAILABLE
    reason = "DATABASE_UNAVAILABLE"
    retry_after = 1.0


class RateLimited(TaskHubError):
    """The account or the address calls too often; try again later."""

    code = Code.RESOURCE_EXHAUSTED
    reason = "RATE_LIMITED"

    def __init__(self, retry_after: float, headers: Mapping[str, str]) -> None:
        super().__init__()
        self.retry_after = retry_after
        self.headers = headers


class Draining(TaskHubError):
    """The server shuts down; go on with another."""

    code = Code.UNAVAILABLE
    reason = "SERVER_DRAINING"
    retry_after = 0.1


class CallerGone(TaskHubError):
    """The caller has hung up."""

    code = Code.CANCELLED
    reason = "CALLER_GONE"


class StreamStalled(TaskHubError):
    """The caller has not taken a response for too long; go on from the last one."""

    code = Code.RESOURCE_EXHAUSTED
    reason = "STREAM_STALLED"


class AnswersUnread(TaskHubError):
    """Too many answers on this connection wait to be read."""

    code = Code.RESOURCE_EXHAUSTED
    reason = "ANSWERS_UNREAD"
    retry_after = 1.0


class MetadataTooLarge(TaskHubError):
    """The metadata of the call is larger than 16 KiB."""

    code = Code.RESOURCE_EXHAUSTED
    reason = "METADATA_TOO_LARGE"


class StreamsExhausted(TaskHubError):
    """Too many streams are open; try again later."""

    code = Code.RESOURCE_EXHAUSTED
    reason = "STREAMS_EXHAUSTED"
    retry_after = 1.0
