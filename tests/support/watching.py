"""WatchTasks as a test reads it, and the sequencer that gives events their positions."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration
from taskhub.v1 import task_service_pb2

from tests.support.api import Account, Api, Refusal, refusal
from tests.support.servers import PATIENCE
from worker_service.database import Database
from worker_service.sequencer import Sequencer


@contextmanager
def by_hand(database_url: str) -> Iterator[Sequencer]:
    """Yields a sequencer that moves when its crank is turned."""
    sequencer = Sequencer(Database(database_url, "sequencer", pooled=False))
    try:
        yield sequencer
    finally:
        sequencer.reset()


@contextmanager
def sequencing(database_url: str) -> Iterator[None]:
    """Runs the sequencer, as a worker does beside its jobs."""
    stop = threading.Event()
    thread = threading.Thread(target=Sequencer(Database(database_url, "sequencer", pooled=False)).run, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


class Watch:
    """One stream, read by hand."""

    def __init__(self, api: Api, who: Account, *, heartbeat: int = 60, stub: Any = None, **arguments: Any) -> None:
        request = task_service_pb2.WatchTasksRequest(heartbeat_interval=Duration(seconds=heartbeat), **arguments)
        self.call = (stub or api.tasks).WatchTasks(request, metadata=who.metadata, timeout=PATIENCE)
        self.token = ""
        first = self.read()
        assert first.WhichOneof("response") == "heartbeat"

    def read(self) -> Any:
        """Returns the next response."""
        response = next(self.call)
        self.token = response.resume_token or self.token
        return response

    def event(self) -> Any:
        """Returns the next event, after any heartbeats."""
        while True:
            response = self.read()
            if response.HasField("event"):
                return response.event

    def kinds(self, count: int) -> list[str]:
        """Returns the kinds of the next events."""
        return [self.event().kind for _ in range(count)]

    def end(self) -> tuple[Any, Refusal]:
        """Reads to the end; returns the last response and the status of the call."""
        last = None
        try:
            while True:
                last = self.read()
        except grpc.RpcError as error:
            return last, refusal(error)
        except StopIteration:
            raise AssertionError("the stream ended without a status") from None

    def close(self) -> str:
        """Hangs up; returns what to resume with."""
        self.call.cancel()
        return self.token
