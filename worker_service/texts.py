"""What handlers hand over, in a form that PostgreSQL can hold: neither `text` nor `jsonb` takes every Python string."""

from __future__ import annotations

import json
import re
from typing import Any

#: Characters of a result. It goes into every answer that shows the job, of which callers take 4 MiB.
LARGEST = 1 << 20

#: A NUL in JSON text, as opposed to the six characters themselves.
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


def as_json(value: Any) -> str:
    """Returns JSON for a `jsonb`. Raises ValueError for NaN and infinities, NUL, half a surrogate pair, and size.

    Where it is made, and not when it is written: then it may stand in one statement with the results of others.
    """
    text = json.dumps(value, allow_nan=False)
    if len(text) > LARGEST:
        raise ValueError("a result of this size belongs into a file")
    if "\\u" in text:
        json.dumps(value, ensure_ascii=False).encode()  # UnicodeEncodeError is a ValueError
        if _NUL.search(text):
            raise ValueError("a NUL cannot be stored")
    return text


def printable(text: str) -> str:
    """Returns the text with a question mark for each character that cannot be stored."""
    return text.encode(errors="replace").decode().replace("\0", "?")
