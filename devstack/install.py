"""Makes the virtual environment and installs one lock: `python3 -I devstack/install.py LOCK`, for the Makefile.

Runs before anything is installed, so it needs the standard library alone. It can be interrupted anywhere and run again.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, Self

VENV = Path(".venv")
PYTHON = VENV / "bin" / "python"

#: Seconds between two looks at the progress, on a terminal and where each look is a line of its own.
PACE = 0.2 if sys.stdout.isatty() else 3.0


def main() -> int:
    """Installs the lock named on the command line; returns the exit code."""
    signal.signal(signal.SIGTERM, _interrupt)
    begun, lock = time.monotonic(), sys.argv[1]
    os.umask(0o022)  # PostgreSQL, for root, runs as another user, who must be able to read it
    try:
        _make_environment()
        _install(lock)
        _pip("TaskHub itself", "--no-deps", "--no-build-isolation", "--editable", ".")
    except KeyboardInterrupt:
        print("\ninterrupted: the next run goes on from here", file=sys.stderr)
        return 130
    except subprocess.CalledProcessError as error:
        print(f"\n{error.output or ''}taskhub: installing {lock} failed (see above)", file=sys.stderr)
        return 1
    print(f"installed {lock} in {time.monotonic() - begun:.0f} s", flush=True)
    return 0


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _make_environment() -> None:
    """Makes .venv, and makes it anew where an interrupted run left one without a working pip."""
    if not _works():
        print(f"making {VENV} with Python {sys.version.split()[0]}", flush=True)
        _run([sys.executable, "-m", "venv", "--clear", VENV])


def _works() -> bool:
    probe: list[str | Path] = [PYTHON, "-c", "import pip, sys; sys.exit(sys.version_info < (3, 11))"]
    return PYTHON.exists() and subprocess.run(probe, capture_output=True, check=False).returncode == 0


def _install(lock: str) -> None:
    pins = [line for line in Path(lock).read_text().splitlines() if "==" in line and not line.startswith(" ")]
    _pip(lock, "--require-hashes", "--no-deps", "--requirement", lock, total=len(pins))


def _pip(what: str, *arguments: str, total: int = 0) -> None:
    """Runs pip, and shows how far it is; what it said last is shown only if it fails."""
    command: list[str | Path] = [PYTHON, "-m", "pip", "install", "--no-input", "--progress-bar", "off", *arguments]
    with Progress(what, total) as progress:
        _run(command, progress.follow)


def _run(command: list[str | Path], follow: Callable[[str], None] = lambda _: None) -> None:
    """Runs a program in a session of its own: Ctrl-C is for us, who end it and everything that it started."""
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as program:
        said = []
        try:
            for line in program.stdout or ():
                said.append(line)
                follow(line)
        except KeyboardInterrupt:
            os.killpg(program.pid, signal.SIGTERM)
            raise
    if program.returncode != 0:
        raise subprocess.CalledProcessError(program.returncode, command, "".join(said[-20:]))


class Progress:
    """Turns pip's hundreds of lines into one that moves, or into a few where nothing can move."""

    def __init__(self, what: str, total: int) -> None:
        self._what = what
        self._total = total
        self._fetched = 0
        self._unpacking = 0
        self._begun = 0.0
        self._stopped = threading.Event()
        self._drawer = threading.Thread(target=self._draw_until_stopped, daemon=True)

    def __enter__(self) -> Self:
        self._drawer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._drawer.join()
        if sys.stdout.isatty():
            print(flush=True)

    def follow(self, line: str) -> None:
        """Takes a line of pip's."""
        if line.startswith(("Collecting ", "Requirement already satisfied: ")):
            self._fetched += 1
        elif line.startswith("Ignoring "):  # meant for another platform
            self._total -= 1
        elif line.startswith("Installing collected packages"):
            self._begun = time.time()
            self._unpacking = line.count(",") + 1

    def _draw_until_stopped(self) -> None:
        while not self._stopped.wait(PACE):
            self._draw()

    def _draw(self) -> None:
        if self._unpacking and self._total:
            state = f"{_installed_since(self._begun)} of {self._unpacking} packages unpacked"
        else:
            state = f"{self._fetched} of {self._total} packages fetched" if self._total else "building"
        print(
            f"\r\033[K{self._what}: {state}" if sys.stdout.isatty() else f"{self._what}: {state}",
            end="" if sys.stdout.isatty() else "\n",
            flush=True,
        )


def _installed_since(begun: float) -> int:
    return sum(path.stat().st_mtime >= begun for path in VENV.glob("lib/*/site-packages/*.dist-info/RECORD"))


if __name__ == "__main__":
    sys.exit(main())
