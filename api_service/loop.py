"""The event loop of an API process: uvloop's, but a socket that failed calls back as any other event of it does.

libuv gives up a watched socket on which an error is pending: uvloop logs EBADF, and whoever waits for the socket is
never called. A connection that PostgreSQL resets is such a socket. So sockets are watched by a selector of Python's,
which has a descriptor of its own (epoll, kqueue), and that one is what libuv watches.
"""

from __future__ import annotations

import selectors
from collections.abc import Callable
from functools import partial
from selectors import EVENT_READ, EVENT_WRITE
from typing import TYPE_CHECKING, Any, TypeVarTuple, Unpack

import uvloop

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike

Arguments = TypeVarTuple("Arguments")


class Loop(uvloop.Loop):
    """For sockets that are given by their number, as psycopg does. grpc.aio's own is a pair within the process."""

    def __init__(self) -> None:
        super().__init__()
        self._sockets = selectors.DefaultSelector()
        super().add_reader(self._sockets.fileno(), self._dispatch)

    def add_reader(
        self, fd: FileDescriptorLike, callback: Callable[[Unpack[Arguments]], Any], *args: *Arguments
    ) -> None:
        """Calls back whenever there is something to read, an error included."""
        if isinstance(fd, int):
            self._watch(fd, EVENT_READ, partial(callback, *args))
        else:
            super().add_reader(fd, callback, *args)

    def remove_reader(self, fd: FileDescriptorLike) -> Any:
        """Returns whether there was one."""
        return self._ignore(fd, EVENT_READ) if isinstance(fd, int) else super().remove_reader(fd)

    def add_writer(
        self, fd: FileDescriptorLike, callback: Callable[[Unpack[Arguments]], Any], *args: *Arguments
    ) -> None:
        """Calls back whenever something can be written, or there is an error."""
        if isinstance(fd, int):
            self._watch(fd, EVENT_WRITE, partial(callback, *args))
        else:
            super().add_writer(fd, callback, *args)

    def remove_writer(self, fd: FileDescriptorLike) -> Any:
        """Returns whether there was one."""
        return self._ignore(fd, EVENT_WRITE) if isinstance(fd, int) else super().remove_writer(fd)

    def close(self) -> None:
        """Ends it, and what watches the sockets with it."""
        super().close()
        self._sockets.close()

    def _watch(self, fd: int, event: int, callback: Callable[[], Any]) -> None:
        key = self._sockets.get_map().get(fd)
        if key is None:
            self._sockets.register(fd, event, {event: callback})
        else:
            self._sockets.modify(fd, key.events | event, {**key.data, event: callback})

    def _ignore(self, fd: int, event: int) -> bool:
        key = None if self.is_closed() else self._sockets.get_map().get(fd)
        if key is None or not key.events & event:
            return False
        left = key.events & ~event
        if left:
            self._sockets.modify(fd, left, {left: key.data[left]})
        else:
            self._sockets.unregister(fd)
        return True

    def _dispatch(self) -> None:
        for key, ready in self._sockets.select(0):
            for event, callback in key.data.items():
                if event & ready:
                    callback()
