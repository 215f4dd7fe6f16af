"""Refuses calls whose metadata is too large."""

from __future__ import annotations

from typing import Any

from api_service.call import Call
from api_service.interceptors.steps import Handler
from api_service.methods import Method
from shared.errors import MetadataTooLarge

#: Bytes of all values together. `grpc.max_metadata_size` says the same, and lets a mebibyte pass nine times in ten.
MAX_METADATA = 16 * 1024


class Bounds:
    """Looks at the size of what came before the message."""

    def wrap(self, method: Method, following: Handler) -> Handler:  # noqa: ARG002  the same for every method
        """Returns a handler that takes only so much."""

        async def handle(request: Any, call: Call) -> Any:
            if sum(map(len, call.metadata.values())) > MAX_METADATA:
                raise MetadataTooLarge
            return await following(request, call)

        return handle
