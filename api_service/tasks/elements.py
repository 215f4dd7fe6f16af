"""Where in a batch something is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from shared.errors import InvalidArgument, TaskHubError


@contextmanager
def element(path: str) -> Iterator[None]:
    """Makes a refusal say which element of a batch it is about, `requests[3]`; an empty path is no batch."""
    try:
        yield
    except TaskHubError as error:
        if path:
            error.message = f"{path}: {error.message}"
            error.metadata = {**error.metadata, "element": path}
            if isinstance(error, InvalidArgument):
                error.violations = [(f"{path}.{field}", description) for field, description in error.violations]
        raise
