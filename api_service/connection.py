"""A connection that waits for its socket without telling the event loop about it anew for every answer.

psycopg adds the socket to the event loop before each wait and takes it out afterwards, with a timer beside it: a tenth
of what a whole GetTask costs. Here the socket stays where it is, and what arrives is read as soon as the event loop
says so; the task that waits is woken once, with the answer.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Generator
from functools import cached_property
from typing import Any, TypeVar

from psycopg import AsyncConnection
from psycopg.abc import PQGen
from psycopg.pq import ConnStatus
from psycopg.waiting import Ready, Wait

RV = TypeVar("RV")

#: psycopg looks that often whether it was interrupted; where the event loop does that, the number says nothing.
_INTERVAL = 0.1


class WatchedConnection(AsyncConnection[tuple[Any, ...]]):
    """Everything else is psycopg's. Lives in one event loop."""

    _operation: Operation | None = None
    _watched: asyncio.AbstractEventLoop | None = None
    _socket = -1
    _poll: select.poll | None = None

    @cached_property
    def statements(self) -> dict[Any, bytes]:
        """The names of what is prepared here (see `prepared`), what was used last behind."""
        return {}

    async def wait(
        self,
        gen: PQGen[RV],
        interval: float = _INTERVAL,
        timeout: float | None = None,  # noqa: ASYNC109  psycopg's signature
    ) -> RV:
        """Returns what the generator returns. A cancelled wait cancels the query, and leaves the connection usable."""
        try:
            state = next(gen)
        except StopIteration as stop:
            result: RV = stop.value
            return result
        if state == Wait.R and timeout is None:
            operation = Operation(gen, self._watch().create_future())
            self._operation = operation
            try:
                done, value = await operation.answer
            except asyncio.CancelledError:
                if self._operation is None:  # the answer came at the same moment
                    raise
                self._operation = None
                self.release()
                return await super().wait(_Resumed(gen, state, asyncio.CancelledError()), interval)
            if done:
                return value  # type: ignore[no-any-return]
            state = value
        self.release()
        return await super().wait(_Resumed(gen, state), interval, timeout)

    def hung_up(self) -> bool:
        """Whether the server has said goodbye: on an idle connection nobody says anything else."""
        if self._poll is None:
            self._poll = select.poll()
            self._poll.register(self.pgconn.socket, select.POLLIN)
        return bool(self._poll.poll(0))

    def release(self) -> None:
        """Takes the socket out of the event loop: before it is closed, or waited for in another way."""
        if self._watched is not None:
            self._watched.remove_reader(self._socket)
            self._watched = None

    def _watch(self) -> asyncio.AbstractEventLoop:
        if self._watched is None:
            self._watched = asyncio.get_running_loop()
            self._socket = self.pgconn.socket
            self._watched.add_reader(self._socket, self._read)
        return self._watched

    def _read(self) -> None:
        operation = self._operation
        if operation is None:
            # Nobody asked: the server has said goodbye, which the pool sees when it takes the connection.
            self.release()
        elif operation.proceed():
            self._operation = None
            if self.pgconn.status != ConnStatus.OK:
                # The socket is closed, and its number may be another's at once.
                self.release()


class Operation:
    """A generator of psycopg's that waits for the server, and who waits for its end."""

    __slots__ = ("_gen", "answer")

    def __init__(self, gen: PQGen[Any], answer: asyncio.Future[tuple[bool, Any]]) -> None:
        self._gen = gen
        #: True and the result, or False and what the generator has to wait for other than an answer.
        self.answer = answer

    def proceed(self) -> bool:
        """Lets it read what has arrived; returns whether it is through."""
        try:
            state = self._gen.send(Ready.R)
        except StopIteration as stop:
            self._tell((True, stop.value))
        except BaseException as error:  # noqa: BLE001  whatever it is, it is for the one who waits
            if not self.answer.done():
                self.answer.set_exception(error)
        else:
            if state == Wait.R:
                return False
            self._tell((False, state))
        return True

    def _tell(self, answer: tuple[bool, Any]) -> None:
        if not self.answer.done():
            self.answer.set_result(answer)


class _Resumed(Generator[Any, Any, Any]):
    """A generator that has begun, as psycopg's own waiting takes it: from its beginning, or interrupted there."""

    def __init__(self, gen: PQGen[Any], state: Wait, interruption: BaseException | None = None) -> None:
        self._gen = gen
        self._state: Wait | None = state
        self._interruption = interruption

    def send(self, value: Any) -> Any:
        interruption, self._interruption = self._interruption, None
        if interruption is not None:
            raise interruption
        state, self._state = self._state, None
        return self._gen.send(value) if state is None else state

    def throw(self, *error: Any) -> Any:
        return self._gen.throw(*error)
