"""What a message says: the parts that a person and a test want, as plain values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from devstack.mailbox.store import RECIPIENT, SENDER

if TYPE_CHECKING:
    from email.message import EmailMessage


def describe(number: int, message: EmailMessage) -> dict[str, Any]:
    """Returns the message as JSON takes it; `to` are the envelope's recipients, blind copies among them."""
    return {
        "id": number,
        "to": [str(each) for each in message.get_all(RECIPIENT, [])],
        "from": str(message.get("From", message.get(SENDER, ""))),
        "subject": str(message.get("Subject", "")),
        "date": str(message.get("Date", "")),
        "message_id": str(message.get("Message-ID", "")).strip(),
        "text": body(message, "plain"),
        "html": body(message, "html"),
    }


def body(message: EmailMessage, kind: str) -> str | None:
    """Returns the text of the body of this kind (`plain` or `html`), or None where the message has no such part."""
    part = message.get_body(preferencelist=(kind,))
    if part is None:
        return None
    payload = part.get_payload(decode=True)
    content = payload if isinstance(payload, bytes) else b""
    try:
        text = content.decode(part.get_content_charset("utf-8"), "replace")
    except LookupError:  # a charset that nobody knows
        text = content.decode("utf-8", "replace")
    return text.replace("\r\n", "\n")
