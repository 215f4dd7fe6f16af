"""How long what is left of a deleted account stays."""

from __future__ import annotations

from datetime import timedelta

PURGE_AFTER = timedelta(days=30)
