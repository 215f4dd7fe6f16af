"""The HTTP side: pages for a person, JSON for a test, the file itself for whoever doubts both.

GET /                            the list; /messages/ID one message, /messages/ID.eml its file
GET /api/messages?to=ADDRESS     newest first, at most `limit` (100), each with id, to, from, subject, date,
                                 message_id, text and html
GET /api/messages/ID             one of them
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from devstack.mailbox import page
from devstack.mailbox.content import describe

if TYPE_CHECKING:
    from devstack.mailbox.store import Store
    from devstack.ports import Address

MAX_LIMIT = 1000
ONE_MESSAGE = re.compile(r"/(?P<under>api/)?messages/(?P<id>[0-9]{1,15})(?P<form>\.eml|/html)?")


@dataclass(frozen=True, slots=True)
class Answer:
    """A response: its body, what the body is, and what a browser may do with it."""

    body: bytes
    kind: str
    status: HTTPStatus = HTTPStatus.OK
    policy: str = page.POLICY


def answer(store: Store, target: str) -> Answer:
    """Answers a GET of this path and query."""
    url = urlsplit(target)
    if one := ONE_MESSAGE.fullmatch(url.path):
        return _one(store, int(one["id"]), f"{one['under'] or ''}{one['form'] or ''}")
    query = {name: values[-1] for name, values in parse_qs(url.query).items()}
    limit = int(query["limit"]) if query.get("limit", "").isdecimal() else 100
    # A plus that nobody encoded reads as a space, which no address has.
    found = store.find(query.get("to", "").replace(" ", "+"), min(limit, MAX_LIMIT))
    match url.path:
        case "/":
            return _html(page.overview(_describe(store, found)))
        case "/api/messages":
            return _json(_describe(store, found))
        case _:
            return _missing()


def _one(store: Store, number: int, form: str) -> Answer:
    message = store.message(number)
    if message is None:
        return _missing()
    told = describe(number, message)
    match form:
        case "api/":
            return _json(told)
        case ".eml":
            return Answer(store.raw(number) or b"", "text/plain; charset=utf-8")
        case "/html":
            return _html(page.framed(told["html"] or ""), page.MESSAGE_POLICY)
        case "":
            return _html(page.letter(told))
        case _:
            return _missing()


def _describe(store: Store, numbers: list[int]) -> list[dict[str, Any]]:
    return [describe(each, message) for each in numbers if (message := store.message(each)) is not None]


def _html(text: str, policy: str = page.POLICY) -> Answer:
    return Answer(text.encode("utf-8", "replace"), "text/html; charset=utf-8", policy=policy)


def _json(value: object) -> Answer:
    return Answer(json.dumps(value, indent=1).encode(), "application/json")


def _missing() -> Answer:
    return Answer(b'{"error": "there is no such page or message"}', "application/json", HTTPStatus.NOT_FOUND)


def server(address: Address, store: Store) -> ThreadingHTTPServer:
    """Returns a server that listens at the address; serve_forever() is up to the caller."""

    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            response = answer(store, self.path)
            self.send_response(response.status)
            for name, value in _headers(response).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(response.body)

        def log_message(self, *_: object) -> None:
            """Says nothing: a page that refreshes itself would fill the log."""

    return ThreadingHTTPServer((address.host, address.port), Handler)


def _headers(response: Answer) -> dict[str, str]:
    return {
        "Content-Type": response.kind,
        "Content-Length": str(len(response.body)),
        "Content-Security-Policy": response.policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
    }
