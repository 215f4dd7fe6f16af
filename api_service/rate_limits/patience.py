"""Time that others have for an answer, less the time in which this process did not listen."""

from __future__ import annotations

import asyncio
from typing import Any

#: Of so many parts each gives the event loop a turn, in which it reads what has come meanwhile.
_PARTS = 4


async def answered(future: asyncio.Future[Any], seconds: float) -> bool:
    """Waits so long for `future`, and returns whether it is done.

    A process that was held up, by a call that computes or by a machine that is busy elsewhere, finds its time over and
    the answer unread. It would take a Redis for dead that has answered at once, and switch the limits off under load.
    """
    for _ in range(_PARTS):
        await asyncio.wait([future], timeout=seconds / _PARTS)
        if future.done():
            return True
    return False
