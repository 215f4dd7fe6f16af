"""Where processes hear that something has ended which tokens go by: sessions, keys of services, keys that sign."""

from __future__ import annotations

#: Says only that it is worth while to look. A hint: whoever misses it looks by himself, seconds later.
CHANNEL = "taskhub_revocations"
