from __future__ import annotations

from pathlib import Path

from devstack.mailbox.content import describe
from devstack.mailbox.store import Store

MESSAGE = b"From: a@example.com\r\nTo: list@example.com\r\nSubject: Hello\r\n\r\nText\r\n"


def test_mail_is_found_by_the_address_that_it_was_sent_to(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first = store.add(MESSAGE, "a@example.com", ["Ada@Example.com", "blind@example.com"])
    second = store.add(MESSAGE, "a@example.com", ["grace@example.com"])
    assert store.find("ada@example.com") == [first]
    assert store.find("BLIND@example.com") == [first]
    assert store.find("list@example.com") == []
    assert store.find() == [second, first]
    assert store.find(limit=1) == [second]


def test_mail_survives_a_restart(tmp_path: Path) -> None:
    kept = Store(tmp_path).add(MESSAGE, "a@example.com", ["ada@example.com"])
    again = Store(tmp_path)
    assert again.find("ada@example.com") == [kept]
    assert again.add(MESSAGE, "a@example.com", ["ada@example.com"]) == kept + 1


def test_a_write_that_was_cut_short_is_no_mail(tmp_path: Path) -> None:
    (tmp_path / "incoming").write_bytes(b"From: a@exa")
    assert Store(tmp_path).find() == []


def test_the_oldest_mail_goes_when_there_is_too_much(tmp_path: Path) -> None:
    store = Store(tmp_path, max_messages=2)
    numbers = [store.add(MESSAGE, "a@example.com", ["ada@example.com"]) for _ in range(3)]
    assert store.find() == [numbers[2], numbers[1]]
    assert store.raw(numbers[0]) is None


def test_the_oldest_mail_goes_when_it_takes_too_much_room(tmp_path: Path) -> None:
    store = Store(tmp_path, max_bytes=1000)
    numbers = [store.add(MESSAGE + b"x" * 600, "a@example.com", ["ada@example.com"]) for _ in range(2)]
    assert store.find() == [numbers[1]]
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 1000


def test_a_sender_cannot_forge_the_envelope(tmp_path: Path) -> None:
    store = Store(tmp_path)
    number = store.add(MESSAGE, "a@example.com\r\nX-Envelope-To: root@example.com", ["ada@example.com"])
    message = store.message(number)
    assert message is not None
    assert describe(number, message)["to"] == ["ada@example.com"]
