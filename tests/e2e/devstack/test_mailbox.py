from __future__ import annotations

import json
import signal
import smtplib
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from devstack.mailbox.store import MAX_MESSAGE_BYTES
from tests.support.servers import PATIENCE, eventually, free_port


class Running:
    """The mailbox as a process of its own, as the stack and compose start it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.smtp = free_port()
        self.http = free_port()

    def start(self) -> None:
        self.process = subprocess.Popen(self.command(), stderr=subprocess.PIPE, text=True)  # noqa: S603
        eventually(lambda: self.messages("") is not None)

    def command(self) -> list[str]:
        flags = {"smtp": f"127.0.0.1:{self.smtp}", "http": f"127.0.0.1:{self.http}", "folder": str(self.folder)}
        return [
            sys.executable,
            "-m",
            "devstack.mailbox",
            *(part for name in flags for part in (f"--{name}", flags[name])),
        ]

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        _, said = self.process.communicate(timeout=PATIENCE)
        assert said == ""
        return self.process.returncode

    def send(self, recipient: str, text: str) -> None:
        message = EmailMessage()
        message["From"], message["To"], message["Subject"] = "a@example.com", "list@example.com", "Hello"
        message.set_content(text)
        with smtplib.SMTP("127.0.0.1", self.smtp) as client:
            client.send_message(message, "a@example.com", [recipient])

    def messages(self, recipient: str) -> list[dict[str, Any]]:
        with urllib.request.urlopen(
            f"http://127.0.0.1:{self.http}/api/messages?to={recipient}", timeout=PATIENCE
        ) as answer:
            found: list[dict[str, Any]] = json.load(answer)
        return found


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    running = Running(tmp_path / "mail with space")
    running.start()
    yield running
    if running.process.poll() is None:
        running.stop()


def test_what_comes_in_by_smtp_comes_out_by_http(running: Running) -> None:
    running.send("ada@example.com", "Grüße\n")
    (found,) = running.messages("ada@example.com")
    assert (found["to"], found["subject"], found["text"]) == (["ada@example.com"], "Hello", "Grüße\n")
    with urllib.request.urlopen(f"http://127.0.0.1:{running.http}/", timeout=PATIENCE) as page:
        assert "ada@example.com" in page.read().decode()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_restart_keeps_the_mail(running: Running, number: signal.Signals) -> None:
    running.send("ada@example.com", "kept\n")
    running.stop(number)
    running.start()
    assert [each["text"] for each in running.messages("ada@example.com")] == ["kept\n"]


def test_it_ends_well_when_asked_to(running: Running) -> None:
    assert running.stop() == 0


def test_a_message_beyond_the_limit_is_refused(running: Running) -> None:
    with pytest.raises(smtplib.SMTPSenderRefused, match="552"):
        running.send("ada@example.com", "x" * MAX_MESSAGE_BYTES)
    assert running.messages("ada@example.com") == []


def test_a_taken_address_is_one_clear_line(tmp_path: Path) -> None:
    mailbox = Running(tmp_path)
    with socket.create_server(("127.0.0.1", mailbox.http)):
        outcome = subprocess.run(mailbox.command(), capture_output=True, text=True, timeout=PATIENCE, check=False)  # noqa: S603
    assert outcome.returncode == 1
    assert outcome.stderr.startswith("mailbox: ")
    assert f"127.0.0.1:{mailbox.http}" in outcome.stderr
    assert outcome.stderr.count("\n") == 1
