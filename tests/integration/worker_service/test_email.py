"""The job kind `email`, from its arguments to the mail server's reply."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage

import pytest

from shared.crypto import Secrets
from shared.ids import new_id
from shared.kinds import EMAIL
from shared.traces import Tracer
from tests.integration.worker_service.conftest import KEY
from tests.support.jobs import Jobs
from tests.support.servers import Mailbox, free_port
from worker_service.registry import installed
from worker_service.runner import Runner
from worker_service.settings import WorkerSettings

Send = Callable[[], None]
DUE = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)


@pytest.fixture
def mail_settings(settings: WorkerSettings, mailbox: Mailbox) -> WorkerSettings:
    return WorkerSettings.model_validate(
        {**settings.model_dump(), "smtp_url": mailbox.url, "retry_base_seconds": 0.001}
    )


def _send(settings: WorkerSettings) -> None:
    runner = Runner(settings, installed(), Secrets(KEY), Tracer("test", None))
    runner.run(EMAIL.queue)
    runner.close()


def test_a_registration_that_is_gone_needs_no_mail(mail_settings: WorkerSettings, jobs: Jobs, mailbox: Mailbox) -> None:
    id_ = jobs.enqueue(args={"template": "verification", "registration": str(new_id())})
    _send(mail_settings)
    assert jobs.job(id_)["result"] == {"skipped": "registration is gone"}
    assert mailbox.messages == []


@pytest.mark.parametrize("template", ["welcome", "already_registered", "password_changed"])
def test_mails_to_an_account(template: str, mail_settings: WorkerSettings, jobs: Jobs, mailbox: Mailbox) -> None:
    id_ = jobs.enqueue(args={"template": template, "user": str(jobs.user())})
    _send(mail_settings)
    (message,) = mailbox.messages
    assert message["To"] == "Ada <ada@example.com>"
    assert jobs.job(id_)["result"] == {"message_id": f"<{id_}@taskhub.localhost>"}


def _text(message: EmailMessage) -> str:
    part = message.get_body(("plain",))
    assert part is not None
    return str(part.get_content())


def _link(jobs: Jobs, purpose: str, **columns: object) -> uuid.UUID:
    id_ = new_id()
    columns = {"id": id_, "purpose": purpose, "address": "192.0.2.7", "user_agent": "browser", **columns}
    names, places = ", ".join(columns), ", ".join(["%s"] * len(columns))
    jobs.connection.execute(
        f"INSERT INTO links ({names}, expire_time) VALUES ({places}, now() + interval '1 hour')", list(columns.values())
    )
    return id_


@pytest.mark.parametrize(
    ("template", "purpose", "page"),
    [
        ("password_reset", "reset-password", "reset"),
        ("choose_password", "reset-password", "reset"),
        ("email_change", "change-email", "change-email"),
    ],
)
def test_a_link_is_derived_when_it_is_mailed(
    template: str, purpose: str, page: str, mail_settings: WorkerSettings, jobs: Jobs, mailbox: Mailbox
) -> None:
    columns: dict[str, object] = {"email": "new@example.com"} if template != "password_reset" else {}
    if template != "choose_password":
        columns["user_id"] = jobs.user()
    if template == "email_change":
        columns["old_email"] = "ada@example.com"
    link = _link(jobs, purpose, **columns)
    id_ = jobs.enqueue(args={"template": template, "link": str(link)})
    _send(mail_settings)
    [message] = mailbox.messages
    token = Secrets(KEY).link_token(purpose, link)
    assert f"http://127.0.0.1:8080/{page}#token={token}" in _text(message)
    assert "192.0.2.7" in _text(message)
    assert message["To"].addresses[0].addr_spec == columns.get("email", "ada@example.com")
    assert token not in json.dumps(jobs.job(id_), default=str)


@pytest.mark.parametrize(
    "change", ["use_time = now()", "create_time = now() - interval '2 hours', expire_time = now()"]
)
def test_a_link_that_is_worthless_is_not_mailed(
    change: str, mail_settings: WorkerSettings, jobs: Jobs, mailbox: Mailbox
) -> None:
    link = _link(jobs, "reset-password", user_id=jobs.user())
    jobs.connection.execute(f"UPDATE links SET {change}".encode())
    id_ = jobs.enqueue(args={"template": "password_reset", "link": str(link)})
    _send(mail_settings)
    assert jobs.job(id_)["result"] == {"skipped": "link is gone, used or expired"}
    assert mailbox.messages == []


def test_both_addresses_are_told_of_a_change_and_none_of_the_other_in_full(
    mail_settings: WorkerSettings, jobs: Jobs, mailbox: Mailbox
) -> None:
    user = jobs.user(email="new@example.com")
    link = _link(jobs, "change-email", user_id=user, email="new@example.com", old_email="ada@example.com")
    for args in (
        {"template": "email_change_requested"},
        {"template": "email_changed", "recipient": "old"},
        {"template": "email_changed", "recipient": "new"},
    ):
        jobs.enqueue(args={**args, "link": str(link)})
    _send(mail_settings)
    told = [message["To"].addresses[0].addr_spec for message in mailbox.messages]
    assert told == ["ada@example.com", "ada@example.com", "new@example.com"]
    for message in mailbox.messages[:2]:
        assert "n***@example.com" in _text(message)
        assert "new@example.com" not in str(message)


def test_a_new_device_is_told_with_where_and_when(mail_settings: WorkerSettings, jobs: Jobs, mailbox: Mailbox) -> None:
    session = new_id()
    jobs.connection.execute(
        "INSERT INTO sessions (id, user_id, expire_time, address, user_agent)"
        " VALUES (%s, %s, now() + interval '1 day', '192.0.2.7', 'curl/8')",
        [session, jobs.user()],
    )
    jobs.enqueue(args={"template": "new_device", "session": str(session)})
    _send(mail_settings)
    text = _text(mailbox.messages[0])
    assert "192.0.2.7" in text
    assert "curl/8" in text


@pytest.mark.parametrize(
    "args", [{}, {"template": "verification"}, {"template": "verification", "registration": "x"}, {"template": "no"}]
)
def test_arguments_that_name_no_mail_end_the_job(
    args: dict[str, str], mail_settings: WorkerSettings, jobs: Jobs
) -> None:
    id_ = jobs.enqueue(args=args)
    _send(mail_settings)
    assert (jobs.state(id_), jobs.job(id_)["error"]["reason"]) == ("FAILED", "ARGUMENTS_INVALID")


def test_no_mail_server_is_worth_another_try(mail_settings: WorkerSettings, jobs: Jobs) -> None:
    id_ = jobs.verification()
    nowhere = f"smtp://127.0.0.1:{free_port()}"
    _send(WorkerSettings.model_validate({**mail_settings.model_dump(), "smtp_url": nowhere, "retry_base_seconds": 60}))
    assert (jobs.state(id_), jobs.job(id_)["error"]["code"]) == ("WAITING", 14)


def test_a_refusal_for_now_is_worth_another_try(mail_settings: WorkerSettings, jobs: Jobs, mailbox: Mailbox) -> None:
    mailbox.refusals.append("451 ada@example.com is busy")
    id_ = jobs.verification()
    _send(mail_settings.model_copy(update={"retry_base_seconds": 60}))
    assert (jobs.state(id_), jobs.job(id_)["error"]["reason"]) == ("WAITING", "MAIL_SERVER_UNAVAILABLE")


def test_a_refusal_for_good_is_the_end(
    mail_settings: WorkerSettings, jobs: Jobs, mailbox: Mailbox, capfd: pytest.CaptureFixture[str]
) -> None:
    mailbox.refusals.append("550 no such user ada@example.com")
    id_ = jobs.verification()
    _send(mail_settings)
    assert (jobs.state(id_), jobs.job(id_)["error"]["reason"]) == ("FAILED", "MAIL_REFUSED")
    assert "ada@example.com" not in json.dumps(jobs.job(id_), default=str)
    captured = capfd.readouterr()
    assert "ada@example.com" not in captured.out + captured.err


def test_nothing_that_is_kept_holds_the_token(mail_settings: WorkerSettings, jobs: Jobs, mailbox: Mailbox) -> None:
    registration = jobs.registration()
    id_ = jobs.enqueue(args={"template": "verification", "registration": str(registration)})
    _send(mail_settings)
    token = Secrets(KEY).link_token("verify-email", registration)
    assert token in str(mailbox.messages[0].get_body(("plain",)))
    assert token not in json.dumps(jobs.job(id_), default=str)


def test_the_user_and_password_of_the_url_are_used(mail_settings: WorkerSettings, jobs: Jobs, mailbox: Mailbox) -> None:
    """The mailbox offers no AUTH: a worker that is to sign in must not send without."""
    url = mailbox.url.replace("smtp://", "smtp://ada:pass%40word@")
    id_ = jobs.verification()
    _send(WorkerSettings.model_validate({**mail_settings.model_dump(), "smtp_url": url, "retry_base_seconds": 60}))
    assert jobs.state(id_) == "WAITING"
    assert mailbox.messages == []


def _task(jobs: Jobs) -> uuid.UUID:
    """Inserts an open task of Ada's."""
    id_ = new_id()
    insert = "INSERT INTO tasks (id, owner_id, title, due_time) VALUES (%s, %s, %s, %s)"
    jobs.connection.execute(insert, [id_, jobs.user(), "Ship\tit", DUE])
    return id_


def _remind(jobs: Jobs, task: uuid.UUID) -> uuid.UUID:
    args = {"template": "reminder", "task": str(task), "field": "due_time", "time": DUE.isoformat()}
    return jobs.enqueue(args=args)


def test_a_reminder_goes_to_the_owner_where_nobody_is_assigned(
    mail_settings: WorkerSettings, jobs: Jobs, mailbox: Mailbox
) -> None:
    _remind(jobs, _task(jobs))
    _send(mail_settings)
    (message,) = mailbox.messages
    assert (message["To"], message["Subject"]) == ("Ada <ada@example.com>", "Reminder: Ship it")


def test_a_reminder_and_an_assignment_go_to_the_assignee(
    mail_settings: WorkerSettings, jobs: Jobs, mailbox: Mailbox
) -> None:
    bob = jobs.user("bob@example.com", "Bob")
    task = _task(jobs)
    jobs.connection.execute("UPDATE tasks SET assignee_id = %s, assignee_kind = 'users'", [bob])
    _remind(jobs, task)
    jobs.enqueue(args={"template": "assigned", "task": str(task), "user": str(bob)})
    _send(mail_settings)
    assert {(mail["To"], mail["Subject"]) for mail in mailbox.messages} == {
        ("Bob <bob@example.com>", "Reminder: Ship it"),
        ("Bob <bob@example.com>", "Assigned to you: Ship it"),
    }


@pytest.mark.parametrize(
    "columns",
    [
        {"due_time": DUE + timedelta(seconds=1)},
        {"due_time": None},
        {"state": "CANCELLED"},
        {"delete_time": DUE, "purge_time": DUE},
    ],
)
def test_a_reminder_that_the_task_no_longer_wants_is_not_sent(
    columns: dict[str, object], mail_settings: WorkerSettings, jobs: Jobs, mailbox: Mailbox
) -> None:
    task = _task(jobs)
    assignments = ", ".join(f"{column} = %({column})s" for column in columns)
    jobs.connection.execute(f"UPDATE tasks SET {assignments}", columns)
    id_ = _remind(jobs, task)
    _send(mail_settings)
    assert jobs.job(id_)["result"] == {"skipped": "task is gone, closed or has another time"}
    assert mailbox.messages == []


def test_whoever_is_no_longer_assigned_is_told_nothing(
    mail_settings: WorkerSettings, jobs: Jobs, mailbox: Mailbox
) -> None:
    id_ = jobs.enqueue(args={"template": "assigned", "task": str(_task(jobs)), "user": str(new_id())})
    _send(mail_settings)
    assert jobs.job(id_)["result"] == {"skipped": "task is gone, closed or somebody else's"}
    assert mailbox.messages == []
