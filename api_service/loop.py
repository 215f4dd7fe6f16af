"""The event loop of an API process: uvloop's, but who waits for a socket that failed is called back.

On Linux, libuv gives up a watched socket on which an error is pending: uvloop reports EBADF, and whoever waits for the
socket is never called. A connection that PostgreSQL resets is such a socket. So an epoll of our own, which libuv
watches as well, looks at the same sockets for nothing but errors; what can be read or written costs what uvloop takes.
"""

from __future__ import annotations

import contextlib
import errno
import select
import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVarTuple, Unpack

import uvloop

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike

Arguments = TypeVarTuple("Arguments")
Callback = Callable[[], Any]


class Loop(uvloop.Loop):
    """For sockets that are given by their number, as psycopg does. grpc.aio's own is a pair within the process."""

    def __init__(self) -> None:
        super().__init__()
        #: By socket: who waits to read, who to write.
        self._waiting: dict[int, list[Callback | None]] = {}
        if sys.platform == "linux":  # kqueue tells of an error as of something to read
            self._failed = select.epoll()
            super().add_reader(self._failed.fileno(), self._call_back)

    def add_reader(
        self, fd: FileDescriptorLike, callback: Callable[[Unpack[Arguments]], Any], *args: *Arguments
    ) -> None:
        """Calls back whenever there is something to read, or an error."""
        super().add_reader(fd, callback, *args)
        self._watch(fd, 0, partial(callback, *args))

    def remove_reader(self, fd: FileDescriptorLike) -> Any:
        """Returns whether there was one."""
        super().remove_reader(fd)
        return self._ignore(fd, 0)

    def add_writer(
        self, fd: FileDescriptorLike, callback: Callable[[Unpack[Arguments]], Any], *args: *Arguments
    ) -> None:
        """Calls back whenever something can be written, or there is an error."""
        super().add_writer(fd, callback, *args)
        self._watch(fd, 1, partial(callback, *args))

    def remove_writer(self, fd: FileDescriptorLike) -> Any:
        """Returns whether there was one."""
        super().remove_writer(fd)
        return self._ignore(fd, 1)

    def call_exception_handler(self, context: Any) -> None:
        """Passes over what libuv says of a socket that failed: whoever waits for it is told."""
        error = context.get("exception")
        if not (isinstance(error, OSError) and error.errno == errno.EBADF):
            super().call_exception_handler(context)

    def _watch(self, fd: FileDescriptorLike, side: int, callback: Callback) -> None:
        if not isinstance(fd, int) or sys.platform != "linux":
            return
        waiting = self._waiting.get(fd)
        if waiting is None:
            waiting = self._waiting[fd] = [None, None]
            self._failed.register(fd, 0)  # errors are told without being asked for
        waiting[side] = callback

    def _ignore(self, fd: FileDescriptorLike, side: int) -> bool:
        waiting = self._waiting.get(fd) if isinstance(fd, int) else None
        if waiting is None or not isinstance(fd, int) or waiting[side] is None:
            return False
        waiting[side] = None
        if waiting == [None, None]:
            del self._waiting[fd]
            with contextlib.suppress(OSError):  # it was closed, and is gone from there by itself
                self._failed.unregister(fd)
        return True

    def _call_back(self) -> None:
        for fd, _ in self._failed.poll(0):
            for callback in self._waiting.get(fd, ()):
                if callback is not None:
                    callback()
