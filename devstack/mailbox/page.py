"""The mailbox for a person: pages without scripts, where what an email says cannot act."""

from __future__ import annotations

import re
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

#: For our own pages: our style, and a frame with a message of ours.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-src 'self'; base-uri 'none'; form-action 'none'"
#: For the HTML of a message: no script, no request to anywhere; its links open in another tab.
MESSAGE_POLICY = (
    "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"
)

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; color: #1b1f24 }
table { border-collapse: collapse; width: 100% } td, th { text-align: left; padding: .3rem .8rem .3rem 0 }
tr + tr { border-top: 1px solid #d9dde2 } a { color: #0b57d0 } pre { white-space: pre-wrap; background: #f4f5f7 }
pre { padding: 1rem } iframe { width: 100%; height: 32rem; border: 1px solid #d9dde2; background: #fff }
"""
LINK = re.compile(r"https?://[^\s<>\"']+")


def _page(title: str, body: str, head: str = "") -> str:
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8">{head}<title>{escape(title)}</title>'
        f"<style>{STYLE}</style><h1>{escape(title)}</h1>{body}</html>"
    )


def overview(messages: Iterable[dict[str, Any]]) -> str:
    """Returns the list of messages; it looks for new ones every few seconds."""
    rows = "".join(
        f'<tr><td><a href="/messages/{each["id"]}">{escape(each["subject"] or "(no subject)")}</a>'
        f"<td>{escape(', '.join(each['to']))}<td>{escape(each['date'])}"
        for each in messages
    )
    table = f"<table><tr><th>Subject<th>To<th>Date{rows}</table>" if rows else "<p>No mail yet.</p>"
    return _page("TaskHub mailbox", table, '<meta http-equiv="refresh" content="5">')


def letter(message: dict[str, Any]) -> str:
    """Returns the page of one message: headers, text with its links, HTML in a sandbox."""
    names = ("from", "to", "date", "message_id")
    values = {**message, "to": ", ".join(message["to"])}
    rows = "".join(f"<tr><th>{name.replace('_', '-')}<td>{escape(values[name])}" for name in names)
    text = f"<pre>{_with_links(message['text'])}</pre>" if message["text"] is not None else ""
    frame = (
        f'<iframe sandbox="allow-popups allow-popups-to-escape-sandbox" src="/messages/{message["id"]}/html"></iframe>'
        if message["html"] is not None
        else ""
    )
    ways = f'<p><a href="/">All mail</a> · <a href="/messages/{message["id"]}.eml">Source</a></p>'
    return _page(message["subject"] or "(no subject)", f"{ways}<table>{rows}</table>{text}{frame}")


def framed(html: str) -> str:
    """Returns the HTML of a message for the frame: its links open in another tab."""
    return f'<base target="_blank">{html}'


def _with_links(text: str) -> str:
    parts, end = [], 0
    for found in LINK.finditer(text):
        url = escape(found.group())
        parts += [escape(text[end : found.start()]), f'<a href="{url}" target="_blank" rel="noreferrer">{url}</a>']
        end = found.end()
    return "".join([*parts, escape(text[end:])])
