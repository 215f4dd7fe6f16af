"""What a handler is given."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

from shared.crypto import Secrets
from worker_service import queries
from worker_service.database import Connection
from worker_service.queries import Claimed
from worker_service.settings import WorkerSettings

T = TypeVar("T")


class Context:
    """One attempt at a job, seen from inside its handler."""

    def __init__(
        self, job: Claimed, connection: Connection, settings: WorkerSettings, secrets: Secrets, stack: ExitStack
    ) -> None:
        self.job = job
        #: For reads; each statement commits alone. What the job changes belongs into `transaction()`.
        self.connection = connection
        self.settings = settings
        self.secrets = secrets
        self.in_transaction = False
        self._stack = stack

    @property
    def args(self) -> Mapping[str, Any]:
        """The job's arguments."""
        return self.job.args

    @property
    def attempt(self) -> int:
        """The number of this try, from 1."""
        return self.job.attempt

    @property
    def idempotency_key(self) -> str:
        """What tells the world outside that two tries are one job: the same on every attempt, of no other job."""
        return str(self.job.id)

    @property
    def cancelled(self) -> bool:
        """Whether somebody asked for the job to stop; the handler may return at once then."""
        return False

    def step(self, name: str, function: Callable[..., T]) -> T:
        """Returns what `function` returns, remembered across attempts."""
        raise NotImplementedError(name, function)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Opens the job's one transaction. It commits together with the completion, after the handler has returned.

        No connection is idle in it for longer than a lease. Raises RuntimeError the second time.
        """
        if self.in_transaction:
            raise RuntimeError("a job has one transaction")
        self.in_transaction = True
        self._stack.enter_context(self.connection.transaction())
        queries.bound_idleness(self.connection, self.settings.lease_seconds)
        yield self.connection
