"""A connection that packs a job's transaction into two messages: the one that begins it, and the one that ends it.

psycopg sends BEGIN alone and waits for the answer. Here it goes out with the first statement, and the last statement
goes out with the COMMIT. See docs/decisions/overlapping-commits.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple, Self, TypeVar

import psycopg
from psycopg import errors, generators
from psycopg.abc import Params, PQGen
from psycopg.pq import ExecStatus, TransactionStatus
from psycopg.rows import Row

T = TypeVar("T")

Command = Callable[[], None]


class Statement(NamedTuple):
    """What is prepared under `name` before it first goes out. Parameters are $1, $2, and go out as text."""

    name: bytes
    sql: bytes


BEGIN = Statement(b"taskhub_begin", b"BEGIN")
COMMIT = Statement(b"taskhub_commit", b"COMMIT")

_BEGUN = (TransactionStatus.INTRANS, TransactionStatus.INERROR)


class JobConnection(psycopg.Connection[dict[str, Any]]):
    """A connection of psycopg's that may have the transaction of a job on it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.cursor_factory = _Cursor
        #: The transaction was asked for, and BEGIN was not sent yet.
        self.begin_due = False
        self._in_job = False
        self._known: set[Statement] = set()

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open, or will be with the next statement."""
        return self.begin_due or self.pgconn.transaction_status != TransactionStatus.IDLE

    def begin(self) -> None:
        """Begins the job's transaction: BEGIN goes out with the next statement."""
        self.begin_due = self._in_job = True

    def finish(self, last: Statement, values: Sequence[bytes | None]) -> None:
        """Sends the last statement and the COMMIT. Nothing else can be done here until `read_answer`."""
        if self._num_transactions:
            raise psycopg.ProgrammingError("a savepoint was not left")
        commands = [*self._commands(last, values)]
        if not self.begin_due:
            commands += self._commands(COMMIT)
        self.begin_due = self._in_job = False
        self.pgconn.enter_pipeline_mode()
        for command in commands:
            command()
        self.pgconn.pipeline_sync()
        self.wait(generators.send(self.pgconn))

    def read_answer(self) -> None:
        """Waits until what `finish` sent is committed. Raises psycopg.Error."""
        self.wait(_answers(self))
        self.pgconn.exit_pipeline_mode()

    def abandon(self) -> None:
        """Rolls the job's transaction back, or closes the connection where that cannot be."""
        self.begin_due = self._in_job = False
        try:
            super().rollback()
        except psycopg.Error:
            self.close()

    def commit(self) -> None:
        """Commits; not in a job's transaction, which does so with its completion."""
        self._refuse_in_job()
        super().commit()

    def rollback(self) -> None:
        """Rolls back; not in a job's transaction, which does so when its handler raises."""
        self._refuse_in_job()
        super().rollback()

    def wait(self, gen: PQGen[T], *args: Any, **kwargs: Any) -> T:
        """Does what psycopg wants to do with the server; what needs a transaction finds it begun."""
        if self.begin_due:
            super().wait(self._exec_command(BEGIN.sql))
            self.begin_due = False
        return super().wait(gen, *args, **kwargs)

    def execute_first(self, execute: Callable[[], object]) -> None:
        """Lets a cursor execute the first statement of the transaction, in one message with the BEGIN."""
        self.begin_due = False
        pipeline = _OneGo(self)
        pipeline.enter(self._commands(BEGIN))
        try:
            execute()
        finally:
            pipeline.leave()
            self.begin_due = self.pgconn.transaction_status not in _BEGUN

    def _commands(self, statement: Statement, values: Sequence[bytes | None] | None = None) -> Iterator[Command]:
        if self.prepare_threshold is None:
            yield partial(self.pgconn.send_query_params, statement.sql, values)
            return
        if statement not in self._known:
            yield partial(self._send_prepare, statement)
        yield partial(self.pgconn.send_query_prepared, statement.name, values)

    def _send_prepare(self, statement: Statement) -> None:
        self.pgconn.send_prepare(statement.name, statement.sql)
        self._known.add(statement)

    def _deallocate(self, name: bytes | None) -> PQGen[None]:
        # After a rollback psycopg lets go of all that is prepared, ours as well.
        if name is None:
            self._known.clear()
        return super()._deallocate(name)

    def _refuse_in_job(self) -> None:
        if self._in_job:
            raise psycopg.ProgrammingError("the transaction of a job ends with its handler")


class _Cursor(psycopg.Cursor[Row]):
    def execute(self, query: Any, params: Params | None = None, **options: Any) -> Self:
        connection = self._conn
        # In a pipeline of the handler's own, BEGIN is queued as everything else.
        if not (isinstance(connection, JobConnection) and connection.begin_due and connection._pipeline is None):  # noqa: SLF001
            return super().execute(query, params, **options)
        connection.execute_first(partial(super().execute, query, params, **options))
        return self


class _OneGo(psycopg.Pipeline):
    """A pipeline for one statement and what has to precede it: all goes out with one system call.

    psycopg's own sends each command by itself, and asks for the answers when it is left.
    """

    def enter(self, commands: Iterator[Command]) -> None:
        self.pgconn.enter_pipeline_mode()
        self.command_queue.extend(commands)
        self.result_queue.extend([None] * len(self.command_queue))
        self._conn._pipeline = self  # noqa: SLF001 - cursors look there

    def leave(self) -> None:
        if self._conn._pipeline is not self:  # noqa: SLF001
            return
        self._conn._pipeline = None  # noqa: SLF001
        try:
            self.pgconn.exit_pipeline_mode()
        except psycopg.OperationalError:
            # Something was interrupted: there are answers that nobody reads.
            self._conn.close()

    def _communicate_gen(self) -> PQGen[None]:
        # What a cursor calls once its statement is queued.
        self._enqueue_sync()
        try:
            while self.command_queue:
                self.command_queue.popleft()()
            yield from generators.send(self.pgconn)
            yield from self._fetch_gen(flush=False)
            if self.result_queue:
                raise psycopg.OperationalError("the connection was lost")
        finally:
            self.leave()


def _answers(connection: JobConnection) -> PQGen[None]:
    """Reads up to the answer to the Sync. Raises the first error: the others follow from it."""
    error: psycopg.Error | None = None
    while results := (yield from generators.fetch_many(connection.pgconn)):
        for result in results:
            if result.status == ExecStatus.PIPELINE_SYNC:
                if error is not None:
                    raise error
                return
            if result.status == ExecStatus.FATAL_ERROR and error is None:
                error = errors.error_from_result(result)
    raise error or psycopg.OperationalError("the connection was lost")
