"""Rate limits for one account that is a whole load: counted as in any other run, and never reached."""

from __future__ import annotations

#: More in a minute than one machine answers.
_LIMIT = "1000000"
RAISED = {f"TASKHUB_RATE_LIMIT_{name}": _LIMIT for name in ("READ", "WRITE", "ANONYMOUS", "SIGN_IN", "MAIL")}
