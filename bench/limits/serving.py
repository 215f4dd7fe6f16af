"""What the limits have in common: a grpc.aio server with one method that takes and gives raw bytes."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import uvloop
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

PATH = "/bench.Limit/Call"

#: Connections of one server: as many as an API process has.
POOL_SIZE = 8

Connection = AsyncConnection[tuple[Any, ...]]
Answer = Callable[[Connection, str], Awaitable[str]]


def main(answer: Answer) -> None:
    """Serves in the event loop of Python, or of the API with `uvloop` as the argument."""
    factory = uvloop.new_event_loop if sys.argv[1:] == ["uvloop"] else None
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(serve(answer))


async def serve(answer: Answer) -> None:
    """Answers on a free loopback port, which it prints, until SIGTERM. `TASKHUB_DATABASE_URL` names the database."""
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    database = os.environ["TASKHUB_DATABASE_URL"]
    async with AsyncConnectionPool(
        database, min_size=POOL_SIZE, max_size=POOL_SIZE, kwargs={"autocommit": True}, open=False
    ) as pool:
        await pool.wait()

        async def call(request: bytes, _context: Any) -> bytes:
            async with pool.connection() as connection:
                return (await answer(connection, request.decode())).encode()

        service, method = PATH[1:].split("/")
        handlers: dict[str, Any] = {method: grpc.unary_unary_rpc_method_handler(call)}
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        print(port, flush=True)  # noqa: T201  read by the harness
        await stopped.wait()
        await server.stop(1)
