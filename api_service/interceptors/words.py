"""What a field has to be like, in words: the contract's patterns say it to programs."""

from __future__ import annotations

import re

_ID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_EXAMPLE = "01a20a94-5dfd-74c6-96f8-dcf6c45379bd"
#: `(users|serviceAccounts)` and its like.
_CHOICE = re.compile(r"\(([^()|]*)(\|[^()|]*)+\)")

_SAID = {
    r"^[^\x00]*$": "must not hold a NUL character",
    r"^[^\x00-\x1f\x7f-\x9f]*$": "must not hold a control character",
    "^[^\\x00-\\x1f\\x7f-\\x9f\u2028\u2029]*$": "must be one line, without control characters",
    "^[a-z][a-z0-9_./-]{0,62}$": "must be 1 to 63 of a-z, 0-9, _, -, . and /, beginning with a letter",
    r"^[a-zA-Z0-9!#$%&'*+/=?^_`{|}~-]+([.][a-zA-Z0-9!#$%&'*+/=?^_`{|}~-]+)*@[^@\x00-\x20\x7f]+$": (
        "must be an address such as ada@example.com"
    ),
    "^[a-z]+([._][a-z]+)*$": "must be a scope, such as tasks.read",
    "^[a-z0-9_.]*$": "must be of a-z, 0-9, _ and .",
    r"^task\.[a-z_]{1,40}$": "must be a kind of event, such as task.completed",
}


def in_words(pattern: str) -> str | None:
    """Returns what a text that does not match is told; None for a pattern that nobody has put in words."""
    if _ID not in pattern:
        return _SAID.get(pattern)
    name = pattern.strip("^$").replace(_ID, _EXAMPLE)
    if optional := name.endswith(")?"):
        name = name[1:-2]
    example = _CHOICE.sub(r"\1", name)
    return f"must be a name such as {example}" + (", or empty" if optional else "")
