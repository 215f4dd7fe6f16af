"""From the row of a job to the mail in the mailbox, through real processes."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator

import pytest

from shared.crypto import Secrets
from tests.support.jobs import Jobs
from tests.support.servers import Mailbox, Processes, eventually, free_port

KEY = "k" * 32
Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def jobs(database_url: str) -> Iterator[Jobs]:
    tables = Jobs(database_url)
    yield tables
    tables.connection.close()


@pytest.fixture
def environment(database_url: str, redis_url: str, mailbox: Mailbox) -> dict[str, str]:
    return {
        "TASKHUB_DATABASE_URL": database_url,
        "TASKHUB_BROKER_URL": redis_url,
        "TASKHUB_SECRET_KEY": KEY,
        "TASKHUB_SMTP_URL": mailbox.url,
        "TASKHUB_LEASE_SECONDS": "2",
        "TASKHUB_SHUTDOWN_GRACE_SECONDS": "0.5",
        "TASKHUB_RETRY_BASE_SECONDS": "0.2",
        "TASKHUB_WORKER_METRICS_ADDRESS": f"127.0.0.1:{free_port()}",
    }


@pytest.fixture
def start(processes: Processes, environment: dict[str, str]) -> Start:
    def start(*command: str, **more: str) -> subprocess.Popen[bytes]:
        return processes.start("worker_service", *command, environment={**environment, **more})

    return start


def test_a_job_becomes_a_mail(start: Start, jobs: Jobs, mailbox: Mailbox) -> None:
    worker = start()
    registration = jobs.registration()
    id_ = jobs.enqueue(args={"template": "verification", "registration": str(registration)})
    eventually(lambda: jobs.state(id_) == "SUCCEEDED")
    (message,) = mailbox.messages
    token = Secrets(KEY).link_token("verify-email", registration)
    text = message.get_body(("plain",))
    assert text is not None
    assert f"http://127.0.0.1:8080/verify#token={token}" in text.get_content()
    assert token in text.get_content().splitlines()
    assert jobs.job(id_)["result"] == {"message_id": message["Message-ID"]}
    assert jobs.attempts(id_) == ["SUCCEEDED"]
    worker.terminate()
    assert worker.wait(10) == 0
