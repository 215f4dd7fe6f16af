"""The load generator: HTTP/2 frame by frame, because h2load repeats one idempotency key and counts HTTP status.

`python -m bench.load` reads one `Load` as JSON on standard input and prints one `Outcome`. It sends the header block
that repeats as indexes (RFC 7541), puts the fresh key behind it as a literal, and of an answer it only decodes the
trailers. Bounded in calls and in time.
"""

from __future__ import annotations

import base64
import json
import selectors
import socket
import statistics
import struct
import sys
import time
import uuid
from collections import Counter
from dataclasses import asdict, dataclass, field
from itertools import cycle
from typing import Any

from hpack import Decoder, Encoder

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
ACK = END_STREAM = 0x1
END_HEADERS = 0x4
PADDED_OR_PRIORITY = 0x28

#: Bytes before the payload of a frame.
HEADER = 9

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#: SETTINGS_ENABLE_PUSH, SETTINGS_INITIAL_WINDOW_SIZE. All calls of one load fit into these windows, so that none has to
#: be opened again.
OURS = struct.pack(">HIHI", 2, 0, 4, 2**31 - 1)
WINDOW = struct.pack(">I", 2**31 - 1 - 65535)
MAX_CALLS = 500_000

#: Seconds that calls in flight may take when no new ones are made.
PATIENCE = 10.0


@dataclass(frozen=True, slots=True)
class Load:
    """What to call, how often, and for how long."""

    address: str
    path: str
    #: Requests in base64, sent in turn.
    requests: list[str]
    headers: dict[str, str] = field(default_factory=dict)
    #: Whether each call carries an idempotency key of its own.
    fresh_keys: bool = False
    connections: int = 4
    #: Calls in flight on each connection.
    streams: int = 8
    calls: int = MAX_CALLS
    seconds: float = 5.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came back: how often each grpc-status (a stream that was reset counts as `reset`), in which time."""

    statuses: dict[str, int]
    seconds: float
    cpu_seconds: float
    p50_ms: float
    p99_ms: float

    @property
    def ok(self) -> int:
        """Calls that were answered OK."""
        return self.statuses.get("0", 0)

    @property
    def refused(self) -> int:
        """Calls that were answered otherwise."""
        return sum(self.statuses.values()) - self.ok

    @property
    def rate(self) -> float:
        """Calls answered OK in a second."""
        return self.ok / self.seconds


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """Returns an HTTP/2 frame (RFC 9113, section 4.1)."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def literal(name: bytes, value: bytes) -> bytes:
    """Returns a header field that no table remembers (RFC 7541, section 6.2.2); both shorter than 127 bytes."""
    return b"\x00" + bytes((len(name),)) + name + bytes((len(value),)) + value


class Connection:
    """One connection and the calls that are open on it."""

    def __init__(self, load: Load, statuses: Counter[str], times: list[float]) -> None:
        host, _, port = load.address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), timeout=PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._load = load
        self._statuses = statuses
        self._times = times
        messages = [base64.b64decode(request) for request in load.requests]
        self._messages = cycle([struct.pack(">BI", 0, len(message)) + message for message in messages])
        self._encoder, self._decoder = Encoder(), Decoder()
        self._first, self._block = self._blocks()
        self._stream = -1
        self._began: dict[int, float] = {}
        self._window = 65535
        self._in = bytearray()
        self._out = bytearray(PREFACE + frame(SETTINGS, 0, 0, OURS) + frame(WINDOW_UPDATE, 0, 0, WINDOW))

    def _blocks(self) -> tuple[bytes, bytes]:
        """Returns the header block that fills the table, and the one that refers to it."""
        load = self._load
        fields = {
            ":method": "POST", ":scheme": "http", ":path": load.path, ":authority": load.address,
            "te": "trailers", "content-type": "application/grpc", "user-agent": "taskhub-bench",
            "grpc-timeout": "10S", **load.headers,
        }  # fmt: skip
        return self._encoder.encode(fields.items()), self._encoder.encode(fields.items())

    @property
    def open_calls(self) -> int:
        """Calls without an answer."""
        return len(self._began)

    def fill(self, budget: int) -> int:
        """Makes calls until all streams are taken, at most `budget`; returns how many."""
        made = 0
        while made < budget and len(self._began) < self._load.streams and self._window > 0:
            self._call()
            made += 1
        return made

    def _call(self) -> None:
        self._stream += 2
        block, self._first = self._first or self._block, b""
        if self._load.fresh_keys:
            block += literal(b"idempotency-key", uuid.uuid4().hex.encode())
        message = next(self._messages)
        self._window -= len(message)
        self._out += frame(HEADERS, END_HEADERS, self._stream, block) + frame(DATA, END_STREAM, self._stream, message)
        self._began[self._stream] = time.perf_counter()

    def flush(self) -> None:
        """Sends what has gathered."""
        if self._out:
            self.socket.sendall(self._out)
            self._out.clear()

    def receive(self) -> None:
        """Takes what has arrived. Raises ConnectionError where the server has hung up."""
        data = self.socket.recv(1 << 18)
        if not data:
            raise ConnectionError("the server has hung up")
        self._in += data
        at, end = 0, len(self._in)
        while end - at >= HEADER:
            length = int.from_bytes(self._in[at : at + 3])
            if end - at < HEADER + length:
                break
            kind, flags, stream = struct.unpack_from(">BBI", self._in, at + 3)
            self._take(kind, flags, stream, self._in[at + HEADER : at + HEADER + length])
            at += HEADER + length
        del self._in[:at]

    def _take(self, kind: int, flags: int, stream: int, payload: bytearray) -> None:
        if kind == HEADERS:
            if flags & PADDED_OR_PRIORITY or not flags & END_HEADERS:
                raise ConnectionError("a header frame of a kind that grpc does not send")
            # Each one, or the table of the next would be wrong.
            fields = self._decoder.decode(bytes(payload), raw=True)
            if flags & END_STREAM:
                self._finish(stream, _status(fields))
        elif kind == RST_STREAM:
            self._finish(stream, "reset")
        elif kind == WINDOW_UPDATE and stream == 0:
            self._window += int.from_bytes(payload)
        elif kind in {SETTINGS, PING} and not flags & ACK:
            self._out += frame(kind, ACK, 0, bytes(payload) if kind == PING else b"")
        elif kind == GOAWAY:
            raise ConnectionError("the server says goodbye")

    def _finish(self, stream: int, status: str) -> None:
        began = self._began.pop(stream, None)
        if began is not None:
            self._times.append(time.perf_counter() - began)
            self._statuses[status] += 1


def _status(fields: Any) -> str:
    for name, value in fields:
        if name == b"grpc-status":
            return str(value.decode())
    return "missing"


def run(load: Load) -> Outcome:
    """Calls until the time is over or the calls are made, and waits for the last answer. Raises TimeoutError."""
    statuses: Counter[str] = Counter()
    times: list[float] = []
    connections = [Connection(load, statuses, times) for _ in range(load.connections)]
    with selectors.DefaultSelector() as selector:
        for connection in connections:
            selector.register(connection.socket, selectors.EVENT_READ, connection)
        began, cpu = time.perf_counter(), time.process_time()
        left = _exchange(load, connections, selector, began + load.seconds)
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    if left:
        statuses["unanswered"] += left
    for connection in connections:
        connection.socket.close()
    times.sort()
    p50, p99 = (statistics.median(times), times[len(times) * 99 // 100]) if times else (0.0, 0.0)
    return Outcome(dict(statuses), seconds, cpu, p50 * 1000, p99 * 1000)


def _exchange(load: Load, connections: list[Connection], selector: selectors.BaseSelector, end: float) -> int:
    """Keeps every stream busy; returns how many calls were never answered."""
    left = min(load.calls, MAX_CALLS)
    for connection in connections:
        left -= connection.fill(left)
        connection.flush()
    while (now := time.perf_counter()) < end + PATIENCE:
        left = left if now < end else 0
        if not left and not any(connection.open_calls for connection in connections):
            return 0
        for key, _ in selector.select(0.1):
            connection = key.data
            connection.receive()
            left -= connection.fill(left)
            connection.flush()
    return sum(connection.open_calls for connection in connections)


def main() -> None:
    """Runs the load on standard input."""
    json.dump(asdict(run(Load(**json.load(sys.stdin)))), sys.stdout)


if __name__ == "__main__":
    main()
