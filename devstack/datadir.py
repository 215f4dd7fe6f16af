"""The folder that holds everything a stack must find again: data, mail, logs, keys."""

from __future__ import annotations

import fcntl
import os
import secrets
from typing import IO, TYPE_CHECKING

from devstack.errors import StackError

if TYPE_CHECKING:
    from pathlib import Path

#: A log that is longer than this moves aside when its server starts: the last one is kept.
LOG_BYTES = 10_000_000


class DataDir:
    """One stack's folder, made on first use. Only its owner can look inside; a folder that exists keeps its mode."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._lock: IO[str] | None = None
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.mkdir(mode=0o700, exist_ok=True)
            self.folder("logs")
        except OSError as error:
            raise StackError(f"{self.path} cannot be used (TASKHUB_DATA_DIR): {error.strerror}") from None

    def folder(self, name: str) -> Path:
        """Returns a folder inside, which nobody else can enter even where the outer one lets PostgreSQL's user pass."""
        path = self.path / name
        path.mkdir(mode=0o700, exist_ok=True)
        return path

    def lock(self) -> None:
        """Keeps every other supervisor out until this process unlocks or ends, however it ends."""
        self._lock = (self.path / "lock").open("a+")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.seek(0)
            raise StackError(
                f"{self.path} is in use by another run (pid {self._lock.read().strip()}): "
                "stop that one, or set TASKHUB_DATA_DIR to another folder"
            ) from None
        self._lock.truncate(0)
        self._lock.write(f"{os.getpid()}\n")
        self._lock.flush()

    def unlock(self) -> None:
        """Lets the next supervisor in."""
        if self._lock is not None:
            self._lock.close()

    def secret(self, name: str) -> str:
        """Returns the secret kept in the file `name`, made on first use."""
        path = self.path / name
        if not path.exists():
            write_private(path, secrets.token_urlsafe(32) + "\n")
        return path.read_text().strip()

    def log(self, name: str) -> Path:
        """Returns the log file of a server; an overlong one has moved aside."""
        path = self.path / "logs" / f"{name}.log"
        if path.exists() and path.stat().st_size > LOG_BYTES:
            path.replace(path.with_suffix(".log.1"))
        return path


def write_private(path: Path, text: str) -> None:
    """Writes a file that only its owner can read: all of it or nothing, whatever is killed in between."""
    scratch = path.with_name(path.name + ".new")
    scratch.unlink(missing_ok=True)
    with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    scratch.replace(path)
