"""The event loop of an API process, where it differs from uvloop's."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Iterator

import pytest

#: Closing resets the connection, as a server does that dies with something unread.
RESET = struct.pack("ii", 1, 0)


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    with ours, theirs:
        yield ours, theirs


async def test_who_reads_from_a_connection_that_is_reset_is_called(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    loop, called = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(ours.fileno(), called.set)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    theirs.close()
    await asyncio.wait_for(called.wait(), 5)
    assert loop.remove_reader(ours.fileno())
    with pytest.raises(ConnectionResetError):
        ours.recv(1)


async def test_who_connects_to_nobody_is_called() -> None:
    loop, called = asyncio.get_running_loop(), asyncio.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as ours:
        address = listener.getsockname()
        listener.close()
        ours.setblocking(False)  # noqa: FBT003  the argument has no name
        ours.connect_ex(address)
        loop.add_writer(ours.fileno(), called.set)
        await asyncio.wait_for(called.wait(), 5)
        assert loop.remove_writer(ours.fileno())
        assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)


async def test_readers_and_writers_of_one_socket_come_and_go_apart(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    number = ours.fileno()
    loop, readable, writable = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
    assert not loop.remove_reader(number)
    loop.add_reader(number, readable.set)
    loop.add_writer(number, writable.set)
    await asyncio.wait_for(writable.wait(), 5)
    assert not readable.is_set()
    assert loop.remove_writer(number)
    assert not loop.remove_writer(number)
    theirs.send(b"x")
    await asyncio.wait_for(readable.wait(), 5)
    assert loop.remove_reader(number)
    writable.clear()
    loop.add_writer(number, lambda event: event.set(), writable)
    await asyncio.wait_for(writable.wait(), 5)
    assert loop.remove_writer(number)
