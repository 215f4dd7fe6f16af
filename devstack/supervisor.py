"""Keeps the servers of a stack running: starts them in order, brings back what dies, stops them in reverse."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

from devstack import process
from devstack.errors import StackError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from devstack.datadir import DataDir
    from devstack.process import Child

#: How long a server may take to become ready, in seconds. Slow machines are slow; a person sees what is waited for.
PATIENCE = 180.0
POLL = 0.03
#: Pauses before a dead server is started again: the first at once, then longer, until it has lived for a while.
BACKOFF = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0)
HEALTHY_AFTER = 30.0


class Supervisor:
    """The running servers of one stack. `say` gets each line that a person should see."""

    def __init__(self, data: DataDir, say: Callable[[str], None], changed: Callable[[], None] = lambda: None) -> None:
        self._data = data
        self.say = say
        self._changed = changed
        self._children: dict[str, Child] = {}
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._keepers: list[asyncio.Task[None]] = []
        #: Set to stop without waiting for anybody.
        self.hurry = asyncio.Event()

    @property
    def pids(self) -> dict[str, int]:
        """The process of every server that runs now."""
        return {name: each.pid for name, each in self._processes.items() if each.returncode is None}

    async def start(self, child: Child) -> None:
        """Starts a server, returns once it is ready, and keeps it alive from then on; raises StackError if it dies."""
        begun = time.monotonic()
        self._children[child.name] = child
        if not await self._launch(child):
            raise StackError(self._obituary(child))
        self.say(f"{child.name:<10} ready in {time.monotonic() - begun:.1f} s  {child.address}")
        self._keepers.append(asyncio.create_task(self._keep(child)))

    async def run(self, child: Child) -> None:
        """Runs a program to its end, as a step of the start; raises StackError if it fails."""
        begun = time.monotonic()
        self._processes[child.name] = running = await process.spawn(child, self._data.path, self._log(child))
        if await running.wait() != 0:
            raise StackError(self._obituary(child))
        self.say(f"{child.name:<10} done in {time.monotonic() - begun:.1f} s")

    async def stop(self, order: Sequence[str]) -> None:
        """Stops every server in this order, and leaves no process behind."""
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        for name in sorted(self._processes, key=order.index):
            await self._stop(name)
        await asyncio.to_thread(lambda: process.end(process.marked(process.mark(self._data.path))))

    async def _keep(self, child: Child) -> None:
        failures = 0
        while True:
            born = time.monotonic()
            await self._processes[child.name].wait()
            failures = 0 if time.monotonic() - born > HEALTHY_AFTER else failures
            self.say(f"{self._epitaph(child)}; it is started again")
            await asyncio.sleep(BACKOFF[min(failures, len(BACKOFF) - 1)])
            failures += 1
            await self._revive(child)

    async def _revive(self, child: Child) -> None:
        begun = time.monotonic()
        # Its own children may have outlived it, with its ports.
        orphans = process.marked(process.mark(self._data.path, child.name))
        await asyncio.to_thread(process.end, orphans)
        if await self._launch(child):
            self.say(f"{child.name:<10} is back after {time.monotonic() - begun:.1f} s")
            self._changed()

    async def _launch(self, child: Child) -> bool:
        """Starts the server and waits; false if it died or never became ready, and then it is gone."""
        running = await process.spawn(child, self._data.path, self._log(child))
        self._processes[child.name] = running
        deadline = time.monotonic() + PATIENCE
        while running.returncode is None and time.monotonic() < deadline:
            if await child.ready():
                return running.returncode is None
            await asyncio.sleep(POLL)
        if running.returncode is None:
            self.say(f"{child.name:<10} (pid {running.pid}) is not ready after {PATIENCE:.0f} s; it is stopped")
        await self._stop(child.name)
        return False

    async def _stop(self, name: str) -> None:
        running, child = self._processes[name], self._children.get(name)
        if running.returncode is None and child is not None and not self.hurry.is_set():
            with contextlib.suppress(ProcessLookupError):
                running.send_signal(child.stop_signal)
            await self._wait(running, child.grace)
        with contextlib.suppress(ProcessLookupError):
            running.kill()
        await running.wait()

    async def _wait(self, running: asyncio.subprocess.Process, grace: float) -> None:
        waits = [asyncio.create_task(running.wait()), asyncio.create_task(self.hurry.wait())]
        _, pending = await asyncio.wait(waits, timeout=grace, return_when=asyncio.FIRST_COMPLETED)
        for wait in pending:
            wait.cancel()

    def _log(self, child: Child) -> Path:
        return self._data.log(child.name)

    def _epitaph(self, child: Child) -> str:
        running = self._processes[child.name]
        how = "did not become ready" if running.returncode is None else process.how_it_ended(running.returncode)
        return f"{child.name:<10} (pid {running.pid}) {how}"

    def _obituary(self, child: Child) -> str:
        """Says how a start failed, with the end of the log: the reason is nearly always there."""
        log = self._data.log(child.name)
        lines = log.read_text(errors="replace").splitlines()[-5:] if log.exists() else []
        return "\n".join([f"{self._epitaph(child)}; see {log}", *(f"  | {line}" for line in lines)])
