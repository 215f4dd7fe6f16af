"""The SMTP side: takes every message for everybody, and says 250 once it is on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiosmtpd.smtp import SMTP, Envelope, Session

from devstack.mailbox.store import MAX_MESSAGE_BYTES

if TYPE_CHECKING:
    import asyncio

    from devstack.mailbox.store import Store
    from devstack.ports import Address


class Keeper:
    """What aiosmtpd calls for each message."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's
        """Keeps the message."""
        content = envelope.content if isinstance(envelope.content, bytes) else b""
        number = self._store.add(content, envelope.mail_from or "", envelope.rcpt_tos)
        return f"250 kept as {number}"


async def listen(loop: asyncio.AbstractEventLoop, address: Address, store: Store) -> asyncio.Server:
    """Serves SMTP at the address."""
    keeper = Keeper(store)

    def session() -> SMTP:
        return SMTP(
            keeper, data_size_limit=MAX_MESSAGE_BYTES, enable_SMTPUTF8=True, hostname="taskhub-mailbox", loop=loop
        )

    return await loop.create_server(session, address.host, address.port)
