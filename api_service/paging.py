"""Pages by key, never by offset. A page token is opaque and signed for the caller and the arguments of its list."""

from __future__ import annotations

import hmac
from collections.abc import Iterable

from google.protobuf.message import Message

from api_service.call import Call
from shared.crypto import Secrets, decode, encode
from shared.errors import PageTokenInvalid

DEFAULT_SIZE = 50
MAXIMUM_SIZE = 1000
#: Bytes after which a page ends, however many were asked for: a client of gRPC takes 4 MiB unless it is told otherwise.
MAXIMUM_BYTES = 3 * 1024 * 1024
_MAC = 16


def page_size(requested: int) -> int:
    """Coerces what was asked for into bounds (AIP-158)."""
    return min(requested or DEFAULT_SIZE, MAXIMUM_SIZE)


def fitting(sizes: Iterable[int]) -> int:
    """Returns how many elements of these sizes make a page: as many as its bytes allow, and one at least."""
    total = number = 0
    for number, size in enumerate(sizes, 1):
        total += size
        if total > MAXIMUM_BYTES:
            return max(1, number - 1)
    return number


class Pager:
    """Makes and opens the page tokens of one call: `page_token` and `page_size` may change, nothing else."""

    def __init__(self, secrets: Secrets, call: Call, request: Message) -> None:
        self._secrets = secrets
        arguments = type(request)()
        arguments.CopyFrom(request)
        arguments.ClearField("page_token")
        arguments.ClearField("page_size")
        self._scope = b"\0".join(
            (call.method.path.encode(), call.principal.name.encode(), arguments.SerializeToString(deterministic=True))
        )
        self._token: str = request.page_token  # type: ignore[attr-defined]

    def cursor(self, length: int | None = None) -> bytes | None:
        """Returns the bytes after which the page begins, `length` of them if that is given; None for the first page."""
        if not self._token:
            return None
        raw = decode(self._token)
        if raw is None or length not in (None, len(raw) - _MAC) or not self._signed(raw):
            raise PageTokenInvalid
        return raw[_MAC:]

    def _signed(self, raw: bytes) -> bool:
        return hmac.compare_digest(self._secrets.page_mac(raw[_MAC:] + self._scope), raw[:_MAC])

    def token(self, cursor: bytes) -> str:
        """Returns the token of the page that begins after `cursor`."""
        return encode(self._secrets.page_mac(cursor + self._scope) + cursor)
