"""The kind `email`: one mail, rendered from a template, to the address that a row holds when it is sent.

Args name the template and the row, never an address or a token: `{"template": "verification", "registration": id}`,
`{"template": "welcome", "user": id}`, `{"template": "already_registered", "user": id}`,
`{"template": "assigned", "task": id, "user": id}`, `{"template": "reminder", "task": id, "field": …, "time": …}`,
`{"template": "new_device", "session": id}`, `{"template": "password_changed", "user": id}`, and of links
`{"template": "password_reset" | "choose_password" | "email_change" | "email_change_requested", "link": id}`,
`{"template": "email_changed", "link": id, "recipient": "old" | "new"}`.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from shared.kinds import EMAIL
from shared.links import CHANGE_EMAIL, RESET_PASSWORD, VERIFY_EMAIL
from worker_service import addressees
from worker_service.context import Context
from worker_service.errors import PermanentError
from worker_service.jobs import Job
from worker_service.mailer import Mailer

#: Each template's subject, which may quote facts. Its bodies are templates/<name>.txt.j2 and templates/<name>.html.j2.
SUBJECTS = {
    "verification": "Confirm your address",
    "welcome": "Welcome to TaskHub",
    "already_registered": "You already have an account",
    "assigned": "Assigned to you: {title}",
    "reminder": "Reminder: {title}",
    "new_device": "A new device has signed in",
    "password_changed": "Your password has changed",
    "password_reset": "Choose a new password",
    "choose_password": "Choose the password of your account",
    "email_change": "Confirm your new address",
    "email_change_requested": "Your address is about to change",
    "email_changed": "Your address has changed",
}

#: The page of the gateway that a link opens, by what it is for.
PAGES = {VERIFY_EMAIL: "verify", RESET_PASSWORD: "reset", CHANGE_EMAIL: "change-email"}

#: Mails to an address that nobody has proved to be theirs: whoever causes them gets no word into them, name or program,
#: or TaskHub would carry any message to anybody.
TO_STRANGERS = frozenset({"verification", "choose_password", "email_change"})

#: Seconds that the mail server may take for a reply; with a short lease, two thirds of that.
TIMEOUT = 30.0

_templates = Environment(
    loader=PackageLoader("worker_service.jobs"),
    autoescape=select_autoescape(["html.j2"], default=False),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


class ArgumentsInvalid(PermanentError):
    """The arguments name no mail that TaskHub sends."""

    reason = "ARGUMENTS_INVALID"


def send(context: Context) -> Mapping[str, Any]:
    """Sends the mail, or skips it if the row that it is about is gone."""
    match context.args:
        case {"template": "verification", "registration": str(id_)}:
            return _verification(context, _uuid(id_))
        case {"template": "welcome" | "already_registered" | "password_changed" as template, "user": str(id_)}:
            return _to_user(context, template, _uuid(id_))
        case {"template": "assigned", "task": str(task), "user": str(user)}:
            return _assigned(context, _uuid(task), _uuid(user))
        case {
            "template": "reminder",
            "task": str(task),
            "field": "due_time" | "remind_time" as field,
            "time": str(time),
        }:
            return _reminder(context, _uuid(task), field, time)
        case {"template": "new_device", "session": str(id_)}:
            return _new_device(context, _uuid(id_))
        case {"link": str(id_)}:
            return _of_link(context, _uuid(id_))
        case _:
            raise ArgumentsInvalid


JOB = Job(EMAIL, send)


def _verification(context: Context, id_: uuid.UUID) -> Mapping[str, Any]:
    row = addressees.registration(context.connection, id_)
    if row is None:
        return {"skipped": "registration is gone"}
    token = context.secrets.link_token(VERIFY_EMAIL, id_)
    link = f"{_base(context)}/{PAGES[VERIFY_EMAIL]}#token={token}"
    return _send(context, "verification", row, token=token, link=link, **_origin(row))


def _to_user(context: Context, template: str, id_: uuid.UUID) -> Mapping[str, Any]:
    row = addressees.user(context.connection, id_)
    if row is None:
        return {"skipped": "user is gone"}
    return _send(context, template, row, link=_base(context))


def _assigned(context: Context, task: uuid.UUID, user: uuid.UUID) -> Mapping[str, Any]:
    row = addressees.open_task(context.connection, task)
    if row is None or row["assignee_id"] != user:
        return {"skipped": "task is gone, closed or somebody else's"}
    return _send(context, "assigned", row, task=f"tasks/{task}", title=row["title"], due=_when(row["due_time"]))


def _reminder(context: Context, task: uuid.UUID, field: str, time: str) -> Mapping[str, Any]:
    """Looks once more whether the task still wants it: what it was made for may have changed while it was under way."""
    row = addressees.open_task(context.connection, task)
    if row is None or row[field] is None or row[field].astimezone(UTC).isoformat() != time:
        return {"skipped": "task is gone, closed or has another time"}
    return _send(context, "reminder", row, task=f"tasks/{task}", title=row["title"], due=_when(row["due_time"]))


def _when(time: datetime | None) -> str:
    return "" if time is None else time.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _new_device(context: Context, id_: uuid.UUID) -> Mapping[str, Any]:
    row = addressees.session(context.connection, id_)
    if row is None:
        return {"skipped": "session is gone"}
    return _send(context, "new_device", row, **_origin(row))


def _of_link(context: Context, id_: uuid.UUID) -> Mapping[str, Any]:
    match context.args:
        case {"template": "password_reset" | "choose_password" | "email_change" as template}:
            return _link(context, template, id_)
        case {"template": "email_change_requested"}:
            return _about_link(context, "email_change_requested", id_, "old")
        case {"template": "email_changed", "recipient": "old" | "new" as recipient}:
            return _about_link(context, "email_changed", id_, recipient)
        case _:
            raise ArgumentsInvalid


def _link(context: Context, template: str, id_: uuid.UUID) -> Mapping[str, Any]:
    row = addressees.link(context.connection, id_)
    if row is None or row["over"]:
        return {"skipped": "link is gone, used or expired"}
    token = context.secrets.link_token(row["purpose"], id_)
    link = f"{_base(context)}/{PAGES[row['purpose']]}#token={token}"
    return _send(context, template, row, token=token, link=link, **_origin(row))


def _about_link(context: Context, template: str, id_: uuid.UUID, recipient: str) -> Mapping[str, Any]:
    """Tells of a change of address; the one so far is told with less of the new one than a stranger could use."""
    row = addressees.link(context.connection, id_)
    if row is None or row["old_email"] is None:
        return {"skipped": "link is gone"}
    to = {**row, "email": row["old_email"]} if recipient == "old" else row
    return _send(context, template, to, new_address=_masked(row["email"]), **_origin(row))


def _masked(address: str) -> str:
    local, _, domain = address.partition("@")
    return f"{local[:1]}***@{domain}"


def _origin(row: Mapping[str, Any]) -> dict[str, str]:
    """Returns when and where from something happened, for people to recognise."""
    return {
        "time": _when(row["create_time"]),
        "address": row["address"] or "unknown",
        "user_agent": _one_line(row["user_agent"]) or "unknown",
    }


def _send(context: Context, template: str, row: Mapping[str, Any], **facts: str) -> Mapping[str, Any]:
    message = compose(
        template,
        sender=context.settings.mail_from,
        recipient=row["email"],
        display_name=row["display_name"],
        key=context.idempotency_key,
        **facts,
    )
    timeout = min(TIMEOUT, context.settings.lease_seconds * 2 / 3)
    settings = context.settings
    Mailer(settings.smtp_url.get_secret_value(), timeout, settings.smtp_ca).send(message)
    return {"message_id": str(message["Message-ID"])}


def compose(template: str, *, sender: str, recipient: str, display_name: str, key: str, **facts: str) -> EmailMessage:
    """Returns the mail. `key` makes its Message-ID (RFC 5322), the same whenever it is composed again."""
    if template in TO_STRANGERS:
        display_name = ""
    name, from_address = parseaddr(sender)
    origin = Address(name, addr_spec=from_address)
    message = EmailMessage(policy=SMTP)
    message["Message-ID"] = f"<{key}@{origin.domain}>"
    message["Date"] = format_datetime(datetime.now(UTC))
    message["From"] = origin
    message["To"] = _mailbox(display_name, recipient)
    message["Subject"] = SUBJECTS[template].format_map({name: _one_line(fact) for name, fact in facts.items()})
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office replies, please
    values = {"name": _one_line(display_name), **facts}
    message.set_content(_templates.get_template(f"{template}.txt.j2").render(values))
    message.add_alternative(_templates.get_template(f"{template}.html.j2").render(values), subtype="html")
    return message


def _mailbox(display_name: str, address: str) -> Address:
    try:
        return Address(_one_line(display_name), addr_spec=address)
    except Exception as error:  # email.errors, ValueError, IndexError: the parser is not choosy
        raise ArgumentsInvalid("The address cannot be written into a mail.") from error


def _one_line(text: str) -> str:
    """Returns `text` without line breaks and control characters: a display name is what a stranger typed."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def _uuid(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError as error:
        raise ArgumentsInvalid from error


def _base(context: Context) -> str:
    return context.settings.link_base_url.rstrip("/")
