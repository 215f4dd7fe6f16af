from __future__ import annotations

import json
from http import HTTPStatus
from pathlib import Path

import pytest

from devstack.mailbox.store import Store
from devstack.mailbox.web import answer

EVIL = (
    b"From: a@example.com\r\nTo: ada@example.com\r\nSubject: <script>alert(1)</script>\r\n"
    b"MIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary=b\r\n\r\n"
    b"--b\r\nContent-Type: text/plain\r\n\r\nOpen https://example.com/?a=1&b=2 <script>alert(2)</script>\r\n"
    b"--b\r\nContent-Type: text/html\r\n\r\n<script>alert(3)</script>\r\n--b--\r\n"
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path)
    store.add(EVIL, "a@example.com", ["ada@example.com"])
    return store


def test_a_test_finds_mail_by_its_recipient(store: Store) -> None:
    found = json.loads(answer(store, "/api/messages?to=ada@example.com").body)
    assert [each["id"] for each in found] == [1]
    assert json.loads(answer(store, "/api/messages?to=grace@example.com").body) == []
    assert json.loads(answer(store, "/api/messages/1").body) == found[0]


@pytest.mark.parametrize("asked", ["ada%2B1@example.com", "ada+1@example.com"])
def test_an_address_with_a_plus_is_found_encoded_or_not(store: Store, asked: str) -> None:
    store.add(EVIL, "a@example.com", ["ada+1@example.com"])
    assert len(json.loads(answer(store, f"/api/messages?to={asked}").body)) == 1


def test_the_file_itself_can_be_read(store: Store) -> None:
    told = answer(store, "/messages/1.eml")
    assert told.body.endswith(EVIL)
    assert told.kind.startswith("text/plain")


@pytest.mark.parametrize("path", ["/", "/messages/1"])
def test_what_a_message_says_cannot_act_on_our_pages(store: Store, path: str) -> None:
    told = answer(store, path)
    assert b"<script>" not in told.body
    assert "default-src 'none'" in told.policy


def test_links_in_a_text_can_be_followed(store: Store) -> None:
    assert b'<a href="https://example.com/?a=1&amp;b=2"' in answer(store, "/messages/1").body


def test_the_html_of_a_message_is_caged(store: Store) -> None:
    told = answer(store, "/messages/1/html")
    assert b"<script>alert(3)</script>" in told.body
    assert "sandbox" in told.policy
    assert "allow-scripts" not in told.policy
    assert "default-src 'none'" in told.policy


@pytest.mark.parametrize(
    "path", ["/nothing", "/messages/2", "/api/messages/2", "/api/messages/1.eml", "/messages/../x"]
)
def test_what_is_not_there_is_not_found(store: Store, path: str) -> None:
    assert answer(store, path).status == HTTPStatus.NOT_FOUND
