"""A caller with the documented retry policy: the same key again, with exponential backoff and full jitter.

UNAVAILABLE, ABORTED because the key is in use, and a CANCELLED that the caller did not ask for are tried again
(docs/decisions/drain-and-cancelled.md); nothing else is.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2
from taskhub.v1 import task_service_pb2_grpc

from tests.chaos.ledger import Ledger

#: Seconds after which a call counts as hanging.
DEADLINE = 15.0
#: Seconds for which a caller goes on trying before it calls the whole call failed.
PATIENCE = 60.0
BASE, CAP = 0.1, 2.0


@dataclass(frozen=True, slots=True)
class Target:
    """What a client is told of the stack."""

    grpc: str
    database: str
    headers: Sequence[tuple[str, str]]


def connect(target: Target) -> grpc.aio.Channel:
    """Opens a channel with a connection of its own, so that another process may answer it."""
    options = [
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1000),
    ]
    return grpc.aio.insecure_channel(target.grpc, options=options)


class Client:
    """One caller on a connection of its own, and its ledger."""

    def __init__(self, target: Target, ledger: Ledger, rng: random.Random) -> None:
        self._target = target
        self._ledger = ledger
        self._rng = rng
        self.channel = connect(target)
        # grpcio's generated stubs carry no types.
        self.tasks: Any = task_service_pb2_grpc.TaskServiceStub(self.channel)  # type: ignore[no-untyped-call]

    async def close(self) -> None:
        """Closes the connection."""
        await self.channel.close()

    async def call(self, method: Any, request: Any, key: str, **facts: Any) -> Any | None:
        """Returns the answer, or None if the call failed for good. `facts` go into the ledger."""
        self._ledger.note("sent", key=key, **facts)
        end = time.monotonic() + PATIENCE
        for tries in count(1):
            began, stamp = time.monotonic(), time.time()
            try:
                answer = await method(
                    request, metadata=[*self._target.headers, ("idempotency-key", key)], timeout=DEADLINE
                )
            except grpc.aio.AioRpcError as error:
                seconds = time.monotonic() - began
                self._ledger.note("refused", key=key, began=stamp, seconds=seconds, code=error.code().name)
                if not may_retry(error) or time.monotonic() > end:
                    self._ledger.note("failed", key=key, code=error.code().name, text=error.details(), tries=tries)
                    return None
                await asyncio.sleep(self._rng.uniform(0, min(CAP, BASE * 2 ** (tries - 1))))
            else:
                seconds = time.monotonic() - began
                shown = answer.SerializeToString(deterministic=True).hex()
                self._ledger.note(
                    "ok", key=key, began=stamp, seconds=seconds, tries=tries, name=answer.name, answer=shown
                )
                return answer
        raise AssertionError


def may_retry(error: grpc.aio.AioRpcError) -> bool:
    """Whether the documented policy tries again."""
    match error.code():
        case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.CANCELLED:
            return True
        case grpc.StatusCode.ABORTED:
            return reason(error) == "IDEMPOTENCY_KEY_IN_USE"
        case _:
            return False


def reason(error: grpc.aio.AioRpcError) -> str:
    """Returns the ErrorInfo's reason, if the error has one."""
    for name, value in error.trailing_metadata() or ():
        if name == "grpc-status-details-bin" and isinstance(value, bytes):
            for detail in status_pb2.Status.FromString(value).details:
                info = error_details_pb2.ErrorInfo()
                if detail.Unpack(info):
                    return str(info.reason)
    return ""
