"""The limit of streams: whatever PostgreSQL tells of, to everybody who is there, as it is."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncGenerator
from typing import Any

import grpc
from psycopg import AsyncConnection

PATH = "/bench.Limit/Watch"
CHANNEL = "bench_limit"


class Notices:
    """What has been told, and who waits for more."""

    def __init__(self) -> None:
        self._told: list[bytes] = []
        self._more = asyncio.Event()

    async def listen(self, dsn: str) -> None:
        """Takes up what PostgreSQL tells, for ever."""
        async with await AsyncConnection.connect(dsn, autocommit=True) as connection:
            await connection.execute(f"LISTEN {CHANNEL}")
            async for notice in connection.notifies():
                self._told.append(notice.payload.encode())
                self._more.set()
                self._more = asyncio.Event()

    async def follow(self, _request: bytes, _context: Any) -> AsyncGenerator[bytes, None]:
        """Yields a sign of life, and then whatever is told."""
        seen = len(self._told)
        yield b""
        while True:
            while seen < len(self._told):
                seen += 1
                yield self._told[seen - 1]
            await self._more.wait()


async def serve() -> None:
    """Answers on a free loopback port, which it prints, until SIGTERM. `TASKHUB_DATABASE_URL` names the database."""
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    notices = Notices()
    listener = asyncio.create_task(notices.listen(os.environ["TASKHUB_DATABASE_URL"]))
    service, method = PATH[1:].split("/")
    handlers: dict[str, Any] = {method: grpc.unary_stream_rpc_method_handler(notices.follow)}
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)  # noqa: T201  read by the harness
    await stopped.wait()
    listener.cancel()
    await server.stop(0)


if __name__ == "__main__":
    asyncio.run(serve())
