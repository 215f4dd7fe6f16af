"""What a mail looks like."""

from __future__ import annotations

from email import message_from_bytes, policy
from email.message import EmailMessage

import pytest

from worker_service.jobs.email import SUBJECTS, TO_STRANGERS, ArgumentsInvalid, compose

FACTS = {
    "link": "http://hub/verify#token=abc",
    "token": "abc",
    "task": "tasks/1",
    "title": "Ship\r\nBcc: x",
    "due": "",
    "new_address": "n***@example.com",
    "time": "2026-11-25 18:00 UTC",
    "address": "192.0.2.1",
    "user_agent": "<b>browser</b>",
}


def _compose(display_name: str = "Ada", recipient: str = "ada@example.com", template: str = "welcome") -> EmailMessage:
    sender = "TaskHub <noreply@hub.example>"
    return compose(template, sender=sender, recipient=recipient, display_name=display_name, key="job-1", **FACTS)


def _sent(message: EmailMessage) -> EmailMessage:
    """Returns the mail as its reader parses it."""
    parsed = message_from_bytes(message.as_bytes(), policy=policy.default)
    assert isinstance(parsed, EmailMessage)
    return parsed


def _body(message: EmailMessage, kind: str) -> str:
    part = message.get_body((kind,))
    assert part is not None
    content: str = part.get_content()
    return content


@pytest.mark.parametrize("template", sorted(SUBJECTS))
def test_every_template_renders_as_text_and_html(template: str) -> None:
    message = _sent(_compose(template=template))
    assert message.get_content_type() == "multipart/alternative"
    greeting = "Hello," if template in TO_STRANGERS else "Hello Ada,"
    assert _body(message, "plain").startswith(greeting)
    assert _body(message, "html").startswith(f"<p>{greeting}</p>")


@pytest.mark.parametrize("template", ["verification", "choose_password", "email_change", "password_reset"])
def test_a_mail_that_anybody_can_cause_carries_no_word_of_theirs(template: str) -> None:
    message = _compose("You have won, call 555 01", "victim@example.com", template)
    for kind in ("plain", "html"):
        assert "browser" not in _body(message, kind)
    if template != "password_reset":  # which goes to an account, by the name that its owner chose
        assert "won" not in str(_sent(message))
        assert message["To"] == "victim@example.com"


def test_the_headers() -> None:
    message = _sent(_compose())
    assert message["Message-ID"] == "<job-1@hub.example>"
    assert message["From"] == "TaskHub <noreply@hub.example>"
    assert message["To"] == "Ada <ada@example.com>"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Date"].datetime.tzinfo is not None


def test_a_title_in_the_subject_stays_on_its_line() -> None:
    message = _sent(_compose(template="assigned"))
    assert (message["Subject"], message["Bcc"]) == ("Assigned to you: Ship Bcc: x", None)


def test_the_token_stands_on_a_line_of_its_own() -> None:
    assert "abc" in _body(_sent(_compose(template="verification")), "plain").splitlines()


@pytest.mark.parametrize(
    "name",
    [
        "Eve\r\nBcc: all@example.com",
        "Eve\nBcc: all@example.com",
        "Eve\u2028Bcc: all@example.com",
        "Eve\x00\x0bBcc: x@y",
    ],
)
def test_a_display_name_injects_no_header(name: str) -> None:
    message = _sent(_compose(name))
    assert message["Bcc"] is None
    assert [address.addr_spec for address in message["To"].addresses] == ["ada@example.com"]
    assert b"\nBcc:" not in message.as_bytes()


def test_a_display_name_adds_no_recipient() -> None:
    message = _sent(_compose('Eve" <eve@example.com>, "x'))
    assert [address.addr_spec for address in message["To"].addresses] == ["ada@example.com"]


def test_a_display_name_is_no_markup() -> None:
    html = _body(_sent(_compose("<script>alert(1)</script>")), "html")
    assert "<script>" not in html
    assert "&lt;script&gt;" in html


def test_names_from_everywhere() -> None:
    message = _sent(_compose("Łukasz 🚀"))
    assert message["To"].addresses[0].display_name == "Łukasz 🚀"
    assert "Hello Łukasz 🚀" in _body(message, "plain")


@pytest.mark.parametrize("address", ["no-at-sign", "a@b\r\nBcc: c@d", "a b@c", ""])
def test_an_address_that_is_none_is_refused_for_good(address: str) -> None:
    with pytest.raises(ArgumentsInvalid):
        _compose(recipient=address)
