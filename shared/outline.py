"""What may be told of an exception: its class, its SQLSTATE and where it came from, never its words.

The words of drivers and libraries repeat what they were given: rows, statements, addresses, tokens.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator

import psycopg

from shared.errors import TaskHubError


def outline(error: BaseException) -> str:
    """Returns a line for each exception of the chain, the last raised first, and one for each of its frames."""
    return "\n".join(line for each in _chain(error) for line in _lines(each))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _lines(error: BaseException) -> Iterator[str]:
    kind = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
    match error:
        case psycopg.Error(sqlstate=str(state)):
            yield f"{kind} {state}"
        case TaskHubError():
            yield f"{kind} {error.reason}"
        case _:
            yield kind
    for frame, line in traceback.walk_tb(error.__traceback__):
        yield f"  {frame.f_globals.get('__name__', '?')}:{line} {frame.f_code.co_name}"
