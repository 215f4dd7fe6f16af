"""The job kind `email`, from its arguments to the mail server's reply."""

from __future__ import annotations

import json
from collections.abc import Callable

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
