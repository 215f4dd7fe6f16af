"""Messages as numbered .eml files in a folder: they outlive a restart, and their number and size are bounded."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from email import policy
from email.parser import BytesParser
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from email.message import EmailMessage
    from pathlib import Path

MAX_MESSAGE_BYTES = 10_000_000
MAX_MESSAGES = 1_000
MAX_BYTES = 200_000_000

#: Added above each message, since its own To need not name whom it was sent to.
RECIPIENT = "X-Envelope-To"
SENDER = "X-Envelope-From"


@dataclass(frozen=True, slots=True)
class Entry:
    """What is kept in memory of a message."""

    id: int
    recipients: frozenset[str]
    size: int


class Store:
    """The messages in one folder. Safe for several threads: SMTP writes while pages are read."""

    def __init__(self, folder: Path, max_messages: int = MAX_MESSAGES, max_bytes: int = MAX_BYTES) -> None:
        self._folder = folder
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._lock = Lock()
        folder.mkdir(parents=True, exist_ok=True)
        self._entries = {entry.id: entry for entry in map(self._read, self._ids())}
        self._last = max(self._entries, default=0)

    def add(self, content: bytes, sender: str, recipients: Sequence[str]) -> int:
        """Keeps a message for good, or as long as it is among the newest, and returns its id."""
        envelope = [f"{SENDER}: {_one_line(sender)}", *(f"{RECIPIENT}: {_one_line(each)}" for each in recipients)]
        whole = "".join(f"{line}\r\n" for line in envelope).encode() + content
        with self._lock:
            self._last += 1
            self._write(self._last, whole)
            known = frozenset(each.lower() for each in recipients)
            self._entries[self._last] = Entry(self._last, known, len(whole))
            self._forget_the_oldest()
            return self._last

    def find(self, recipient: str | None = None, limit: int = 100) -> list[int]:
        """Returns the ids of messages to this address, or to anyone, newest first."""
        wanted = recipient.lower() if recipient else None
        with self._lock:
            entries = sorted(self._entries.values(), key=lambda entry: entry.id, reverse=True)
        return [entry.id for entry in entries if wanted is None or wanted in entry.recipients][:limit]

    def raw(self, number: int) -> bytes | None:
        """Returns the file of a message, or None if there is none."""
        try:
            return self._path(number).read_bytes()
        except FileNotFoundError:
            return None

    def message(self, number: int) -> EmailMessage | None:
        """Returns a message in parts, or None if there is none."""
        raw = self.raw(number)
        return None if raw is None else BytesParser(policy=policy.default).parsebytes(raw)

    def _write(self, number: int, content: bytes) -> None:
        scratch = self._folder / "incoming"
        with scratch.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(self._path(number))

    def _forget_the_oldest(self) -> None:
        total = sum(entry.size for entry in self._entries.values())
        for number in sorted(self._entries):
            if len(self._entries) <= self._max_messages and (total <= self._max_bytes or number == self._last):
                return
            total -= self._entries.pop(number).size
            self._path(number).unlink(missing_ok=True)

    def _read(self, number: int) -> Entry:
        with self._path(number).open("rb") as file:
            headers = BytesParser(policy=policy.compat32).parse(file, headersonly=True)
        recipients = frozenset(str(each).lower() for each in headers.get_all(RECIPIENT, []))
        return Entry(number, recipients, self._path(number).stat().st_size)

    def _ids(self) -> list[int]:
        return [int(path.stem) for path in self._folder.glob("*.eml") if path.stem.isdecimal()]

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:08}.eml"


def _one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text)
