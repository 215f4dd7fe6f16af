"""Finds programs inside installed wheels, without importing the packages around them, which do things at import."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from devstack.errors import StackError


def folder(package: str) -> Path:
    """Returns the folder of an installed package."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise StackError(f"the package {package} is not installed: `make run` installs all that is needed")
    return Path(spec.origin).parent
