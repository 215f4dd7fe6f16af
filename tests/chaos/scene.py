"""Where faults happen: the stack, the seeded dice, and the journal of what was done when."""

from __future__ import annotations

import contextlib
import random
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import psutil

from tests.chaos.stack import Stack
from tests.support.servers import eventually

#: The shortest and the longest pause between two faults, in seconds.
Apart = tuple[float, float]
Role = Callable[[], list[psutil.Process]]


@dataclass(frozen=True, slots=True)
class Injected:
    """One line of the journal."""

    time: float
    what: str
    pid: int | None


@dataclass(frozen=True, slots=True)
class Span:
    """A time between two faults, or during one, in seconds since 1970."""

    name: str
    began: float
    ended: float

    @property
    def seconds(self) -> float:
        """How long it was."""
        return self.ended - self.began


@dataclass
class Scene:
    """One run of one row. All choices come from `rng`, and none of them depends on how fast the machine is."""

    stack: Stack
    rng: random.Random
    say: Callable[[str], None]
    #: Seconds.
    lease: float
    journal: list[Injected] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    _frozen: list[threading.Timer] = field(default_factory=list)

    def strike(self, role: Role, number: signal.Signals, name: str) -> int:
        """Sends a signal to a process of this role, once there is one; returns its pid."""
        dice = self.rng.random()

        def hit() -> int | None:
            living = sorted(role(), key=lambda each: each.pid)
            if not living:
                return None
            victim = living[int(dice * len(living))]
            victim.send_signal(number)
            return victim.pid

        pid = eventually(hit, 60)
        assert pid is not None
        self.note(f"{number.name} {name}", pid)
        return pid

    def strike_all(self, role: Role, number: signal.Signals, name: str) -> None:
        """Sends a signal to every process of this role in the same moment."""
        victims = role()
        for victim in victims:
            with contextlib.suppress(psutil.NoSuchProcess):
                victim.send_signal(number)
        for victim in victims:
            self.note(f"{number.name} {name}", victim.pid)

    def freeze(self, role: Role, seconds: float, name: str) -> None:
        """Sends SIGSTOP to a process of this role, and SIGCONT later, while the faults go on."""
        pid = self.strike(role, signal.SIGSTOP, name)
        try:
            process = psutil.Process(pid)
        except psutil.NoSuchProcess:  # an earlier fault has reached it meanwhile
            return

        def wake() -> None:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()

        timer = threading.Timer(seconds, wake)
        timer.start()
        self._frozen.append(timer)

    def thaw(self) -> None:
        """Returns once nothing is frozen any more."""
        for timer in self._frozen:
            timer.join()

    def note(self, what: str, pid: int | None) -> None:
        """Writes a line of the journal."""
        self.journal.append(Injected(time.time(), what, pid))
        self.say(what if pid is None else f"{what} (pid {pid})")

    def mark(self, name: str, began: float, ended: float) -> None:
        """Remembers a time that an invariant asks for."""
        self.spans.append(Span(name, began, ended))

    def during(self, name: str, seconds: float) -> None:
        """Lets time pass, and remembers when that was."""
        began = time.time()
        self.pause(seconds)
        self.mark(name, began, time.time())

    def pause(self, seconds: float) -> None:
        """Lets time pass: the load goes on, and there is no condition to wait for."""
        time.sleep(seconds)
