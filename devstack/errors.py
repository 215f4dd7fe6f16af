"""What stops the embedded run, in words for the person who started it."""

from __future__ import annotations


class StackError(Exception):
    """The stack cannot run; the text is the one line that the person reads."""
