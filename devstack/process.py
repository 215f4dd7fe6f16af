"""One server as a child process: started by exec, on a leash, found again whatever became of its parent."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
    from pathlib import Path

#: Tells whose process it is, in its environment, where children and grandchildren inherit it: "DATA_DIR#NAME".
MARK = "TASKHUB_DEVSTACK_CHILD"

PR_SET_PDEATHSIG = 1


async def _at_once() -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Child:
    """How one server is started, known to be ready, and stopped."""

    name: str
    command: Sequence[str | Path]
    ready: Callable[[], Awaitable[bool]] = field(default=_at_once)
    address: object = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    #: User and group ids to run as, for root only.
    owner: tuple[int, int] | None = None
    cwd: Path | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    grace: float = 5.0
    #: What to clear away before each start, since the last one may have been killed.
    prepare: Callable[[], None] = field(default=lambda: None)


async def spawn(child: Child, data_dir: Path, log: Path) -> asyncio.subprocess.Process:
    """Starts the child in a session of its own: Ctrl-C in the terminal is the supervisor's business alone."""
    await asyncio.to_thread(child.prepare)
    with log.open("ab") as output:
        return await asyncio.create_subprocess_exec(
            *child.command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=asyncio.subprocess.STDOUT,
            cwd=child.cwd,
            env={**os.environ, **child.environment, MARK: mark(data_dir, child.name)},
            start_new_session=True,
            preexec_fn=leash(child.stop_signal),
            **identity(child.owner),
        )


def identity(owner: tuple[int, int] | None) -> dict[str, Any]:
    """Returns the arguments that make subprocess run a program as this user and group, without our other groups."""
    return {} if owner is None else {"user": owner[0], "group": owner[1], "extra_groups": []}


def leash(at_death: signal.Signals) -> Callable[[], None]:
    """Returns what runs between fork and exec: asks Linux to signal the child when its parent dies.

    subprocess calls it after the change of user, which would undo it. Elsewhere than on Linux it does nothing, and
    the next start clears away what a killed supervisor left.
    """
    parent = os.getpid()
    prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None

    def hold() -> None:
        if prctl is not None:
            prctl(PR_SET_PDEATHSIG, int(at_death))
        if os.getppid() != parent:
            os._exit(1)

    return hold


def mark(data_dir: Path, name: str = "") -> str:
    """Returns what marks the processes of one server, or the beginning of what marks those of a whole stack."""
    return f"{data_dir}#{name}"


def marked(prefix: str) -> list[psutil.Process]:
    """Returns the processes, children of children included, that carry a mark with this beginning."""
    return [process for process in psutil.process_iter() if _mark(process).startswith(prefix)]


def _mark(process: psutil.Process) -> str:
    try:
        return process.environ().get(MARK, "")
    except (psutil.Error, OSError):
        return ""  # another user's, or gone


def end(processes: Iterable[psutil.Process], ask: signal.Signals = signal.SIGTERM, *, grace: float = 0) -> None:
    """Ends the processes: asks first if there is a grace in seconds, then kills, and returns once they are gone."""
    left = list(processes)
    if grace:
        left = _signal(left, ask, grace)
    _signal(left, signal.SIGKILL, 10)


def _signal(processes: list[psutil.Process], number: signal.Signals, patience: float) -> list[psutil.Process]:
    for each in processes:
        with contextlib.suppress(psutil.Error):
            each.send_signal(number)
    deadline = time.monotonic() + patience
    while (left := [each for each in processes if is_alive(each)]) and time.monotonic() < deadline:
        time.sleep(0.01)
    return left


def is_alive(each: psutil.Process) -> bool:
    """Whether it still runs. What nobody has reaped is dead as well: in many a container, process 1 never reaps."""
    try:
        return each.is_running() and each.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def how_it_ended(code: int) -> str:
    """Describes an exit status the way a person would: the signal by its name."""
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
