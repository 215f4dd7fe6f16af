from __future__ import annotations

from email import message_from_bytes, policy
from email.message import EmailMessage

from devstack.mailbox.content import body, describe


def read(raw: bytes) -> EmailMessage:
    return message_from_bytes(raw, policy=policy.default)


def test_text_and_html_are_told_apart() -> None:
    message = EmailMessage()
    message["Subject"] = "Grüße"
    message["Message-ID"] = "<1@taskhub>"
    message.set_content("Größe\n")
    message.add_alternative("<p>Größe</p>", subtype="html")
    told = describe(7, read(message.as_bytes()))
    assert told["id"] == 7
    assert told["subject"] == "Grüße"
    assert told["message_id"] == "<1@taskhub>"
    assert told["text"] == "Größe\n"
    assert told["html"].strip() == "<p>Größe</p>"


def test_a_part_that_is_not_there_is_none() -> None:
    message = read(b"Subject: x\r\n\r\nonly text\r\n")
    assert body(message, "plain") == "only text\n"
    assert body(message, "html") is None


def test_a_charset_that_nobody_knows_is_no_error() -> None:
    message = read(b'Content-Type: text/plain; charset="klingon"\r\n\r\nplain\r\n')
    assert body(message, "plain") == "plain\n"


def test_a_message_that_is_none_is_shown_all_the_same() -> None:
    assert describe(1, read(b"\xff\xfe\x00"))["subject"] == ""
