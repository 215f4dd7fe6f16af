"""The job kind `email`, from its arguments to the mail server's reply."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

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


@pytest.mark.parametrize("template", ["welcome", "already_registered"])
def test_mails_to_an_account(template: str, mail_settings: WorkerSettings, jobs: Jobs, mailbox: Mailbox) -> None:
    id_ = jobs.enqueue(args={"template": template, "user": str(jobs.user())})
    _send(mail_settings)
    (message,) = mailbox.messages
    assert message["To"] == "Ada <ada@example.com>"
    assert jobs.job(id_)["result"] == {"message_id": f"<{id_}@taskhub.localhost>"}


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
