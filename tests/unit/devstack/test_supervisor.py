"""The supervisor with tiny real children, so that what is tested is what the kernel does."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest

from devstack import process
from devstack.datadir import DataDir
from devstack.errors import StackError
from devstack.process import Child
from devstack.supervisor import Supervisor
from tests.support import servers

#: Says that it is ready by a file, and has a child of its own.
SERVER = """
import pathlib, subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
pathlib.Path(sys.argv[1]).touch()
time.sleep(600)
"""
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('stubborn', flush=True);" + SERVER


class Stage:
    """A supervisor, and what it said."""

    def __init__(self, folder: Path) -> None:
        self.lines: list[str] = []
        self.data = DataDir(folder / "data with space")
        self.supervisor = Supervisor(self.data, self.lines.append)

    def child(self, name: str, program: str = SERVER, grace: float = 5) -> Child:
        ready = self.data.path / f"{name}.ready"

        async def is_ready() -> bool:
            return ready.exists()

        command: list[str | Path] = [sys.executable, "-c", program, ready]
        return Child(name, command, is_ready, grace=grace, prepare=lambda: ready.unlink(missing_ok=True))

    def processes(self) -> list[psutil.Process]:
        return process.marked(process.mark(self.data.path))


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(servers.PATIENCE):
        while not condition():  # noqa: ASYNC110 - processes set no events
            await asyncio.sleep(0.01)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    stage = Stage(tmp_path)
    yield stage
    await stage.supervisor.stop(["a", "b"])
    assert stage.processes() == []


async def test_a_child_is_announced_once_it_is_ready(stage: Stage) -> None:
    await stage.supervisor.start(stage.child("a"))
    assert (stage.data.path / "a.ready").exists()
    assert [line.split(" in ")[0] for line in stage.lines] == ["a          ready"]


async def test_a_child_has_a_session_of_its_own(stage: Stage) -> None:
    await stage.supervisor.start(stage.child("a"))
    assert os.getsid(stage.supervisor.pids["a"]) != os.getsid(0)


async def test_a_child_that_dies_at_the_start_is_named_with_its_last_words(stage: Stage) -> None:
    with pytest.raises(StackError, match=r"a .* ended with exit code 3; see .*a\.log\n  \| no such luck"):
        await stage.supervisor.start(stage.child("a", "import sys; print('no such luck'); sys.exit(3)"))


async def test_a_killed_child_is_named_and_brought_up_again(stage: Stage) -> None:
    await stage.supervisor.start(stage.child("a"))
    first = stage.supervisor.pids["a"]
    os.kill(first, signal.SIGKILL)
    await eventually(lambda: "is back" in stage.lines[-1])
    assert f"a          (pid {first}) was killed by SIGKILL; it is started again" in stage.lines
    assert stage.supervisor.pids["a"] != first


async def test_what_a_killed_child_had_started_goes_with_it(stage: Stage) -> None:
    await stage.supervisor.start(stage.child("a"))
    orphan = psutil.Process(stage.supervisor.pids["a"]).children()[0]
    os.kill(stage.supervisor.pids["a"], signal.SIGKILL)
    await eventually(lambda: not process.is_alive(orphan))
    await eventually(lambda: "is back" in stage.lines[-1])


async def test_children_stop_in_the_order_that_was_asked_for(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        await stage.supervisor.start(stage.child(name))
    pids, gone = dict(stage.supervisor.pids), []
    asked = asyncio.subprocess.Process.send_signal

    def watched(running: asyncio.subprocess.Process, number: int) -> None:
        gone.append(running.pid)
        asked(running, number)

    monkeypatch.setattr(asyncio.subprocess.Process, "send_signal", watched)
    await stage.supervisor.stop(["b", "a"])
    assert gone == [pids["b"], pids["a"]]
    assert stage.processes() == []


async def test_a_child_that_does_not_stop_is_killed_after_its_grace(stage: Stage) -> None:
    await stage.supervisor.start(stage.child("a", STUBBORN, grace=0.1))
    await stage.supervisor.stop(["a"])
    assert stage.processes() == []


async def test_whoever_is_in_a_hurry_waits_for_no_grace(stage: Stage) -> None:
    await stage.supervisor.start(stage.child("a", STUBBORN, grace=600))
    stopping = asyncio.create_task(stage.supervisor.stop(["a"]))
    await asyncio.sleep(0)
    stage.supervisor.hurry.set()
    async with asyncio.timeout(servers.PATIENCE):
        await stopping
    assert stage.processes() == []


async def test_a_step_that_fails_says_so(stage: Stage) -> None:
    with pytest.raises(StackError, match=r"a .* ended with exit code 1"):
        await stage.supervisor.run(Child("a", [sys.executable, "-c", "raise SystemExit(1)"]))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of their parent's death")
def test_a_child_does_not_outlive_a_killed_supervisor(tmp_path: Path) -> None:
    program = """
import asyncio, pathlib, sys, time
from devstack.process import Child, spawn
async def main():
    sleeper = Child("a", [sys.executable, "-c", "import time; time.sleep(600)"])
    child = await spawn(sleeper, *map(pathlib.Path, sys.argv[1:]))
    print(child.pid, flush=True)
    time.sleep(600)
asyncio.run(main())
"""
    command: list[str | Path] = [sys.executable, "-c", program, tmp_path, tmp_path / "log"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as supervisor:  # noqa: S603
        assert supervisor.stdout is not None
        child = psutil.Process(int(supervisor.stdout.readline()))
        supervisor.kill()
    servers.eventually(lambda: not process.is_alive(child))
