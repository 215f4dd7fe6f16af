"""What clients were told, kept outside the database under test: a file of JSON lines for each client."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Line = dict[str, Any]


class Ledger:
    """One client's notes. Each line has left the process before the client goes on, so that a crash loses none."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a")

    def note(self, what: str, **fields: Any) -> None:
        """Appends a line: what happened, when (seconds since 1970), and to what."""
        self._file.write(json.dumps({"what": what, "time": time.time(), **fields}) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def read(folder: Path) -> Iterator[Line]:
    """Yields every line of every client's ledger."""
    for path in sorted(folder.glob("*.jsonl")):
        for text in path.read_text().splitlines():
            line: Line = json.loads(text)
            yield line
